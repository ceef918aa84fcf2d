"""Texts that a schema describes, and others, told apart by the `jsonschema` package:
json_schemas.json. For each of some schemas: random JSON values, whole and with something changed,
written with and without white space. Needs `pip install jsonschema`; seeded.

The grammar of a schema is narrower than the schema in what its comment says: properties in its
order, no others without `additionalProperties`. Schemas here say the second, and values keep to the
first."""

import copy
import json
import pathlib
import random

import jsonschema

NODE = {"type": "object",
        "properties": {"value": {"type": "integer"},
                       "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["value", "next"], "additionalProperties": False}
SCHEMAS = [
    True,
    {"type": "string", "minLength": 2, "maxLength": 4},
    {"type": ["integer", "null"]},
    {"type": "number"},
    {"type": "integer", "minimum": -7, "exclusiveMaximum": 2000},
    {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 0.5, "maximum": 123456}},
    {"enum": ["red", "green", 7, None, [1, "é"], {"a": "\"q\""}]},
    {"const": {"a": [1, 2]}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    {"type": "array", "items": {"type": "array", "items": {"enum": [1, 2]}}, "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False,
     "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "null"}, "minItems": 1,
     "maxItems": 3},
    {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"},
                                      "tags": {"type": "array", "items": {"type": "string"}}},
     "required": ["name"], "additionalProperties": False},
    {"type": "object", "properties": {"b": {"type": "null"}, "a": {"type": "boolean"}},
     "additionalProperties": False},
    {"type": "object", "properties": {"ab": {"type": "integer"}, "aé": {"type": "integer"},
                                      "a]": {"type": "integer"}},
     "additionalProperties": {"type": "string"}},
    {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}},
    {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    {"type": "string", "pattern": "^[A-Z]{2}-\\d{1,3}$"},
    {"type": "string", "pattern": "b|^a.*c$|\\\\"},
    {"type": "string", "pattern": "^(?:[^\"\\s]+|\"(é|日)?\")$"},
    {"type": "object", "properties": {"day": {"pattern": "^\\d{4}-(0[1-9]|1[0-2])-[0-3]\\d$", "type": "string"},
                                      "x": {"pattern": "\\W\\w+?\\.$", "type": "string"}},
     "required": ["day"], "additionalProperties": False},
    {"title": "a choice", "oneOf": [
        {"type": "object", "properties": {"kind": {"const": "point"}, "x": {"type": "number"}},
         "required": ["kind", "x"], "additionalProperties": False},
        {"type": "object", "properties": {"kind": {"const": "line"}, "length": {"type": "integer"}},
         "required": ["kind", "length"], "additionalProperties": False}]},
]
# For patterns: some are of them, others nearly.
SPELLINGS = ["AB-1", "XY-123", "AB-1234", "Ab-1", "AB-", "abc", "a-c", "a\nc", "a\"c", "\"é\"", "\"\"", "\"",
             "日", "a b", "\\", "\t", "2026-12-01", "2026-13-01", "2026-12-41", "12026-12-01", " a.", "a.",
             "é a_1.", " .", "b", "cab", ""]
WORDS = ["", "a", "ab", "abc", "aé", "a]", "b", "name", "age", "tags", "red", "point", "line",
         "日本", "\"q\"", "\\", "😀😀", "x\ny", "kind", "length", "value", "next"]


def scalar(rng: random.Random) -> object:
    return rng.choice([None, True, False, 0, 1, 2, 7, -3, 12.5, -0.25, 1.5e-7, 123456, *WORDS])


def any_value(rng: random.Random, depth: int) -> object:
    kind = rng.random()
    if depth == 0 or kind < 0.5:
        return scalar(rng)
    if kind < 0.75:
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(WORDS): any_value(rng, depth - 1) for _ in range(rng.randrange(3))}


def value_of(schema: object, root: object, rng: random.Random, depth: int = 3) -> object:
    """A value that probably is of the schema."""
    if schema is True:
        return any_value(rng, 2)
    if "$ref" in schema:
        return value_of(root["$defs"]["node"], root, rng, depth - 1)
    if "const" in schema:
        return copy.deepcopy(schema["const"])
    if "enum" in schema:
        return copy.deepcopy(rng.choice(schema["enum"]))
    for key in ("anyOf", "oneOf"):
        if key in schema:
            options = schema[key] if depth > 0 else schema[key][-1:]
            return value_of(rng.choice(options), root, rng, depth)
    kind = schema["type"] if isinstance(schema["type"], str) else rng.choice(schema["type"])
    if kind == "object":
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        value = {name: value_of(part, root, rng, depth - 1) for name, part in properties.items()
                 if name in required or rng.random() < 0.6}
        if schema.get("additionalProperties"):
            for _ in range(rng.randrange(3)):
                name = rng.choice(WORDS)
                if name not in properties and "\\" not in json.dumps(name):
                    value[name] = value_of(schema["additionalProperties"], root, rng, depth - 1)
        return value
    if kind == "array":
        first = [value_of(part, root, rng, depth - 1) for part in schema.get("prefixItems", [])]
        rest = schema.get("items", True)
        more = 0 if rest is False else rng.randrange(4)
        return first + [value_of(rest, root, rng, depth - 1) for _ in range(more)]
    if kind == "string" and "pattern" in schema:
        return rng.choice(SPELLINGS)
    return {"string": lambda: rng.choice(WORDS), "integer": lambda: rng.randrange(-50, 5000),
            "number": lambda: rng.choice([0, -1, 2.5, 1e10, 3.25e-5]), "null": lambda: None,
            "boolean": lambda: rng.random() < 0.5}[kind]()


def changed(value: object, rng: random.Random) -> object:
    """The value with one thing changed somewhere."""
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        if rng.random() < 0.3:
            return value[:at] + value[at + 1:]
        return value[:at] + [changed(value[at], rng)] + value[at + 1:]
    if isinstance(value, dict) and value and rng.random() < 0.7:
        name = rng.choice(list(value))
        if rng.random() < 0.3:
            return {key: part for key, part in value.items() if key != name}
        return {key: changed(part, rng) if key == name else part for key, part in value.items()}
    return any_value(rng, 1)


def main() -> None:
    rng = random.Random(11)
    out = []
    for schema in SCHEMAS:
        validator = jsonschema.Draft202012Validator(schema)
        texts = {}
        for i in range(60):
            value = value_of(schema, schema, rng)
            if i % 3 == 2:
                value = changed(value, rng)
            indent = rng.choice([None, None, 2])
            separators = rng.choice([(",", ":"), (", " if indent is None else ",", ": ")])
            text = json.dumps(value, ensure_ascii=rng.random() < 0.2, separators=separators,
                              indent=indent)
            # Enumerated values and names have to stand as they are.
            if validator.is_valid(value) and schema is not True and ("enum" in schema or "const" in schema):
                text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            # And characters of patterns.
            if "\\u" in text and ("properties" in str(schema) or "pattern" in str(schema)):
                text = json.dumps(value, ensure_ascii=False, separators=separators)
            texts[text] = validator.is_valid(value)
        valid = sorted(text for text, is_valid in texts.items() if is_valid)
        out.append({"schema": json.dumps(schema, ensure_ascii=False), "valid": valid,
                    "invalid": sorted(text for text, is_valid in texts.items() if not is_valid)})
    path = pathlib.Path(__file__).with_name("json_schemas.json")
    path.write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(sum(len(s["valid"]) for s in out), "valid and", sum(len(s["invalid"]) for s in out), "not")


if __name__ == "__main__":
    main()
