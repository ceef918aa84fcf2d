"""Problems, worked thoughts and phrasings for the tiny R1, and the held-out split.

A problem is a small integer question with one integer answer. Its *thought* is worked out the way
a person does it on paper, one column a line, so that every token can be computed from a few
tokens nearby: digits stand next to where they are used, and each line repeats the digits of the
result found so far after an arrow.

Held-out problems are chosen by a hash of the problem's canonical form (its operands and
operators, whatever words surround them), so that no held-out problem can occur in training in any
phrasing. The training generator rejects them, and asserts it.

    python data.py --heldout heldout.jsonl     writes the 500 held-out problems
    python data.py --show 5                    prints samples
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import Callable

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
USER = "<｜User｜>"
ASSISTANT = "<｜Assistant｜>"
HELD_OUT_BUCKETS = 20  # one canonical form in twenty is held out
HELD_OUT_SIZE = 500


# --- the split ------------------------------------------------------------------------------------

def is_held_out(canonical: str) -> bool:
    """True if the problem with this canonical form belongs to the held-out set."""
    digest = hashlib.sha256(("tiny_r1:" + canonical).encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_BUCKETS == 0


# --- worked operations ----------------------------------------------------------------------------
# Each returns (lines, result). `slip`, if given, is a random generator: the working then contains
# one wrong column, carried on consistently, for samples that teach noticing a slip.

def digits(n: int) -> list[int]:
    """Decimal digits, the lowest first."""
    return [int(c) for c in reversed(str(n))]


def work_add(a: int, b: int, slip: random.Random | None = None) -> tuple[str, int]:
    """Column addition with carries."""
    if a < 10 and b < 10 and slip is None:
        return f"{a}+{b}={a + b}\n", a + b
    x, y = digits(a), digits(b)
    width = max(len(x), len(y))
    x += [0] * (width - len(x))
    y += [0] * (width - len(y))
    bad = slip.randrange(width) if slip else -1
    text, carry, done = f"{a}+{b}:\n", 0, ""
    for i in range(width):
        total = x[i] + y[i] + carry
        if i == bad:
            total += slip.choice([-1, 1]) if total else 1
        done = (str(total) if i == width - 1 else str(total % 10)) + done
        text += f"{x[i]}+{y[i]}" + ("+1" if carry else "") + f"={total}→{done}\n"
        carry = 1 if total >= 10 else 0
    return text, int(done)


def work_sub(a: int, b: int, slip: random.Random | None = None) -> tuple[str, int]:
    """Column subtraction with borrows; a smaller first number gives a negative result."""
    if a < b:
        text, result = work_sub(b, a, slip)
        return f"{a}-{b}=-({b}-{a})\n" + text + f"{a}-{b}=-{result}\n", -result
    if a < 10 and slip is None:
        return f"{a}-{b}={a - b}\n", a - b
    x, y = digits(a), digits(b)
    y += [0] * (len(x) - len(y))
    bad = slip.randrange(len(x)) if slip else -1
    text, borrow, done = f"{a}-{b}:\n", 0, ""
    for i in range(len(x)):
        take = y[i] + borrow
        top = x[i] + 10 if x[i] < take else x[i]
        left = top - take
        if i == bad:
            left = (left + slip.choice([1, 9])) % 10
        done = str(left) + done
        if i == len(x) - 1:
            done = str(int(done))
        text += f"{top}-{y[i]}" + ("-1" if borrow else "") + f"={left}→{done}\n"
        borrow = 1 if top >= 10 else 0
    return text, int(done)


def work_mul_digit(a: int, d: int, slip: random.Random | None = None) -> tuple[str, int]:
    """A number times one digit, column by column."""
    if a < 10:
        return f"{a}*{d}={a * d}\n", a * d
    x = digits(a)
    bad = slip.randrange(len(x)) if slip else -1
    text, carry, done = f"{a}*{d}:\n", 0, ""
    for i, digit in enumerate(x):
        total = digit * d + carry
        if i == bad:
            total += slip.choice([-1, 1]) if total else 1
        done = (str(total) if i == len(x) - 1 else str(total % 10)) + done
        text += f"{digit}*{d}" + (f"+{carry}" if carry else "") + f"={total}→{done}\n"
        carry = total // 10
    return text, int(done)


def work_mul(a: int, b: int, slip: random.Random | None = None) -> tuple[str, int]:
    """Partial products, then their sum. The second factor has at most two digits."""
    if a < 10 <= b or (b >= 100 > a):
        text, result = work_mul(b, a, slip)
        return f"{a}*{b}={b}*{a}\n" + text, result
    if b < 10:
        return work_mul_digit(a, b, slip)
    tens, ones = divmod(b, 10)
    if ones == 0:
        text, part = work_mul_digit(a, tens, slip)
        return f"{a}*{b}={a}*{tens}0\n" + text + f"{a}*{b}={part * 10}\n", part * 10
    where = slip.randrange(3) if slip else -1
    text1, low = work_mul_digit(a, ones, slip if where == 0 else None)
    text2, high = work_mul_digit(a, tens, slip if where == 1 else None)
    text3, total = work_add(high * 10, low, slip if where == 2 else None)
    return f"{a}*{b}={a}*{tens}0+{a}*{ones}\n" + text1 + text2 + text3, total


def work_div(a: int, d: int, slip: random.Random | None = None) -> tuple[str, int, int]:
    """Long division by 2..12; returns the text, the quotient and the remainder."""
    number, i, text, done = str(a), 1, f"{a}/{d}:\n", ""
    while int(number[:i]) < d and i < len(number):
        i += 1
    part = int(number[:i])
    while True:
        quotient, rest = divmod(part, d)
        done += str(quotient)
        text += f"{part}/{d}={quotient} r{rest}→{done}\n"
        if i == len(number):
            return text, int(done), rest
        part = rest * 10 + int(number[i])
        i += 1


def cast_out(n: int) -> tuple[str, int]:
    """The running digit sum with nines cast out, e.g. 1786→1,8,7,4."""
    root, seen = 0, []
    for c in str(n):
        root += int(c)
        if root > 9:
            root -= 9
        seen.append(str(root))
    return f"{n}→{','.join(seen)}\n", root


# --- checks ---------------------------------------------------------------------------------------
# A check is computed from what was written, by another way than the working. It ends in a verdict.

def verdict(got: int, want: int) -> tuple[str, bool]:
    if got == want:
        return f"{got} and {want}, good.\n", True
    return f"{got} and {want}, not the same.\n", False


def check_op(op: str, a: int, b: int, result: int) -> tuple[str, bool]:
    """Check a op b = result by the inverse operation, or by casting out nines for a product."""
    if op == "+":
        text, got = work_sub(result, b)
        end, ok = verdict(got, a)
        return "Check: " + text + end, ok
    if op == "-":
        if result < 0:
            text, got = work_add(-result, a)
            end, ok = verdict(got, b)
        else:
            text, got = work_add(result, b)
            end, ok = verdict(got, a)
        return "Check: " + text + end, ok
    if op == "*":
        text_a, root_a = cast_out(a)
        text_b, root_b = cast_out(b)
        text_p, root_p = cast_out(root_a * root_b)
        text_r, root_r = cast_out(result)
        end, ok = verdict(root_p, root_r)
        product = f"{root_a}*{root_b}={root_a * root_b}\n"
        if root_a * root_b >= 10:
            product += text_p
        return "Check by nines: " + text_a + text_b + product + text_r + end, ok
    # Division: multiply back; `result` is the exact quotient.
    text, got = work_mul(result, b)
    end, ok = verdict(got, a)
    return "Check: " + text + end, ok


def check_division(a: int, d: int, quotient: int, rest: int) -> str:
    text, got = work_mul(quotient, d)
    if rest:
        more, got = work_add(got, rest)
        text += more
    return "Check: " + text + verdict(got, a)[0]


# --- expressions ----------------------------------------------------------------------------------

Expr = list  # numbers (int) and the strings + - * / ( )


def show(expr: Expr) -> str:
    return "".join(str(t) for t in expr)


def next_op(expr: Expr) -> int:
    """Index of the operator to work next: innermost brackets, then * and /, then + and -."""
    lo, hi = 0, len(expr)
    if ")" in expr:
        hi = expr.index(")")
        lo = max(i for i in range(hi) if expr[i] == "(")
    ops = [i for i in range(lo, hi) if expr[i] in ("+", "-", "*", "/")]
    strong = [i for i in ops if expr[i] in ("*", "/")]
    return (strong or ops)[0]


def reduce_at(expr: Expr, i: int, value: int) -> Expr:
    lo, hi = i - 1, i + 2
    if lo > 0 and expr[lo - 1] == "(" and hi < len(expr) and expr[hi] == ")":
        lo, hi = lo - 1, hi + 1
    return expr[:lo] + [value] + expr[hi:]


def apply_op(op: str, a: int, b: int, slip: random.Random | None = None) -> tuple[str, int]:
    if op == "/":
        text, quotient, _ = work_div(a, b)
        return text, quotient
    return {"+": work_add, "-": work_sub, "*": work_mul}[op](a, b, slip)


def work_expr(expr: Expr, slip: random.Random | None = None) -> tuple[str, str, int, bool]:
    """Work an expression step by step; returns (working, check of the last step, value, ok)."""
    text, op, a, b, value = "", "", 0, 0, 0
    while len(expr) > 1:
        i = next_op(expr)
        a, op, b = expr[i - 1], expr[i], expr[i + 1]
        last = len(expr) == 3
        line, value = apply_op(op, a, b, slip if last else None)
        text += line
        expr = reduce_at(expr, i, value)
        if not last:
            text += "Now " + show(expr) + ".\n"
    check, ok = check_op(op, a, b, value)
    return text, check, value, ok


def allowed(expr: Expr) -> bool:
    """Whether every step stays within what the model is taught."""
    heavy = 0
    while len(expr) > 1:
        i = next_op(expr)
        a, op, b = expr[i - 1], expr[i], expr[i + 1]
        if op == "*":
            lo, hi = min(a, b), max(a, b)
            if lo > 99 or hi > 999:
                return False
            if lo >= 10:
                heavy += 1
            if heavy > 1 or (heavy and hi > 99 and len(expr) > 3):
                return False
            value = a * b
        elif op == "/":
            if not 2 <= b <= 12 or a % b or a > 9999:
                return False
            value = a // b
        else:
            value = a + b if op == "+" else a - b
        if abs(value) > 999999 or (value < 0 and len(expr) > 3):
            return False
        expr = reduce_at(expr, i, value)
    return True


def canonical_expr(expr: Expr) -> str:
    """Canonical form: a two-number sum or product does not depend on the order."""
    if len(expr) == 3 and expr[1] in "+*":
        a, b = sorted((expr[0], expr[2]))
        return f"{a}{expr[1]}{b}"
    return show(expr)


# --- problems -------------------------------------------------------------------------------------

@dataclass
class Problem:
    kind: str
    canonical: str
    prompt: str
    plan: str  # first line of the thought
    work: str
    check: str
    answer: int
    reply: str  # the sentence with \boxed{}
    expr: Expr | None = field(default=None, repr=False)

    def thought(self) -> str:
        return self.plan + "\n" + self.work + self.check.rstrip("\n")


def number(rng: random.Random, most: int = 3) -> int:
    """An integer whose number of digits is spread evenly enough; few are of one digit."""
    size = rng.choices([1, 2, 3], weights=[2, 4, 4])[0] if most >= 3 else \
        rng.choices([1, 2], weights=[1, 3])[0] if most == 2 else 1
    return rng.randint(2 if size == 1 else 10 ** (size - 1), 10 ** size - 1)


ASKS = [
    "What is {e}?", "What is {e}?", "what is {e}", "What's {e}?", "Compute {e}.", "Compute {e}",
    "Calculate {e}.", "Calculate {e}", "How much is {e}?", "how much is {e}?", "{e}", "{e}", "{e}?",
    "{e} =", "{e}=", "{e} = ?", "{e}=?", "Please work out {e}.", "Work out {e}.", "Find {e}.",
    "Evaluate {e}.", "Evaluate {e}", "Can you compute {e}?", "Tell me {e}.", "Solve {e}.",
    "What is the value of {e}?", "What does {e} equal?", "What is the result of {e}?",
]
BOXED_ASKS = [" Put your final answer within \\boxed{}.",
              " Please reason step by step, and put your final answer within \\boxed{}."]
EXPR_REPLIES = ["The answer is \\boxed{{{v}}}.", "{e} = \\boxed{{{v}}}.", "It is \\boxed{{{v}}}."]


def typed(expr: Expr, rng: random.Random) -> str:
    """The expression as a user might type it."""
    spaced = rng.random() < 0.65
    signs = {"*": rng.choice(["*", "*", "×", "×", "x"]), "/": rng.choice(["/", "÷"]),
             "-": rng.choice(["-", "-", "−"]), "+": "+"}
    out = ""
    for t in expr:
        if t in ("+", "-", "*", "/"):
            out += f" {signs[t]} " if spaced else signs[t]
        else:
            out += str(t)
    return out


def spoken(expr: Expr, rng: random.Random) -> str | None:
    """A two-number expression in words."""
    if len(expr) != 3:
        return None
    a, op, b = expr
    return rng.choice({
        "+": [f"What is {a} plus {b}?", f"What is the sum of {a} and {b}?", f"Add {a} and {b}.",
              f"{a} plus {b}", f"Add {a} to {b}."],
        "-": [f"What is {a} minus {b}?", f"Subtract {b} from {a}.", f"{a} minus {b}",
              f"What is the difference between {a} and {b}?", f"Take {b} away from {a}."],
        "*": [f"What is {a} times {b}?", f"What is the product of {a} and {b}?", f"{a} times {b}",
              f"Multiply {a} by {b}.", f"What is {a} multiplied by {b}?"],
        "/": [f"What is {a} divided by {b}?", f"Divide {a} by {b}.", f"{a} divided by {b}",
              f"How many times does {b} go into {a}?"],
    }[op])


def ask(expr: Expr, rng: random.Random) -> str:
    if len(expr) == 3 and rng.random() < 0.3:
        text = spoken(expr, rng)
    else:
        text = rng.choice(ASKS).format(e=typed(expr, rng))
    if rng.random() < 0.04:
        text += rng.choice(BOXED_ASKS)
    return text


def from_expr(kind: str, expr: Expr, rng: random.Random, prompt: str | None = None,
              plan: str | None = None, reply: str | None = None) -> Problem | None:
    if not allowed(expr):
        return None
    work, check, value, ok = work_expr(expr)
    assert ok
    prompt = prompt if prompt is not None else ask(expr, rng)
    plan = f"{plan} {show(expr)}." if plan else f"I need {show(expr)}."
    if reply is None:
        reply = rng.choice(EXPR_REPLIES)
    reply = reply.format(v=value, e=show(expr))
    return Problem(kind, canonical_expr(expr), prompt, plan, work, check, value, reply, expr)


def make_add(rng: random.Random) -> Problem | None:
    return from_expr("add", [number(rng), "+", number(rng)], rng)


def make_sub(rng: random.Random) -> Problem | None:
    a, b = number(rng), number(rng)
    if a < b and rng.random() < 0.75:  # negative results stay a small share
        a, b = b, a
    return from_expr("sub", [a, "-", b], rng)


def make_mul(rng: random.Random) -> Problem | None:
    a, b = (number(rng), number(rng, 1)) if rng.random() < 0.25 else \
        (number(rng, 2), number(rng, 2)) if rng.random() < 0.75 else (number(rng), number(rng, 2))
    if rng.random() < 0.3:
        a, b = b, a
    return from_expr("mul", [a, "*", b], rng)


def make_div(rng: random.Random) -> Problem | None:
    d = rng.randint(2, 12)
    q = rng.randint(2, rng.choice([12, 99, 999 // d]))
    return from_expr("div", [q * d, "/", d], rng)


def make_rem(rng: random.Random) -> Problem | None:
    a, d = number(rng), rng.randint(2, 12)
    if a <= d:
        return None
    work, quotient, rest = work_div(a, d)
    prompt = rng.choice([
        f"What is the remainder when {a} is divided by {d}?", f"What is {a} mod {d}?",
        f"Find the remainder of {a} divided by {d}.", f"{a} mod {d}",
        f"Compute the remainder of {a} ÷ {d}.", f"What remains when {a} is divided by {d}?"])
    check = check_division(a, d, quotient, rest)
    reply = rng.choice([f"The remainder is \\boxed{{{rest}}}.", f"It leaves \\boxed{{{rest}}}."])
    return Problem("rem", f"{a}/{d}", prompt, f"I need the rest of {a}/{d}.", work, check, rest,
                   reply)


def random_expr(rng: random.Random, steps: int, ops: str = "++--**/") -> Expr:
    expr: Expr = [number(rng)]
    for _ in range(steps):
        op = rng.choice(ops)
        if op == "/":
            d = rng.randint(2, 12)
            expr[-1] = d * rng.randint(2, 60)
            expr += ["/", d]
        elif op == "*":
            if expr[-1] > 99 and rng.random() < 0.6:
                expr[-1] = number(rng, 2)
            expr += ["*", number(rng, rng.choice([1, 1, 2]))]
        else:
            expr += [op, number(rng)]
    return expr


def make_expr2(rng: random.Random) -> Problem | None:
    return from_expr("expr2", random_expr(rng, 2), rng)


def make_expr3(rng: random.Random) -> Problem | None:
    return from_expr("expr3", random_expr(rng, 3), rng)


def make_paren(rng: random.Random) -> Problem | None:
    a, b, c, d = number(rng, 2), number(rng, 2), number(rng, 2), number(rng, 1)
    s, t = rng.choice("+-"), rng.choice("+-")
    form = rng.randrange(7)
    if form == 0:
        expr = ["(", a, s, b, ")", "*", d]
    elif form == 1:
        expr = [d, "*", "(", a, s, b, ")"]
    elif form == 2:
        expr = [number(rng), "-", "(", a, s, b, ")"]
    elif form == 3:
        expr = ["(", a, s, b, ")", "*", d, t, c]
    elif form == 4:
        expr = [c, t, d, "*", "(", a, s, b, ")"]
    elif form == 5:
        expr = ["(", a, s, b, ")", "*", "(", c, t, d, ")"]
    else:
        q = rng.randint(2, 40)
        e = rng.randint(2, 12)
        x = rng.randint(1, q * e)
        expr = ["(", x, "+", q * e - x, ")", "/", e]
        if q * e - x < 1:
            return None
    return from_expr("paren", expr, rng)


EQ_ASKS = ["Solve {e} for x.", "Solve {e}.", "Solve for x: {e}", "If {e}, what is x?", "Find x: {e}",
           "Find x if {e}.", "What is x if {e}?", "{e}, x = ?", "{e}", "Solve the equation {e}."]


def make_eq(rng: random.Random) -> Problem | None:
    a, b, x = rng.randint(2, 12), number(rng, 2), number(rng, 2)
    form = rng.choices(range(6), weights=[6, 4, 3, 2, 2, 2])[0]
    sp = rng.random() < 0.7
    plus, minus, equal = (" + ", rng.choice([" - ", " − "]), " = ") if sp else ("+", "-", "=")
    if form in (0, 2):  # ax + b = c, b + ax = c
        c = a * x + b
        canonical = f"{a}x+{b}={c}"
        left = f"{a}x{plus}{b}" if form == 0 else f"{b}{plus}{a}x"
        text, rest = work_sub(c, b)
        work = f"{a}x={c}-{b}\n" + text + f"{a}x={rest}\n"
    elif form == 1:  # ax - b = c
        c = a * x - b
        if c < 0:
            return None
        canonical = f"{a}x-{b}={c}"
        left = f"{a}x{minus}{b}"
        text, rest = work_add(c, b)
        work = f"{a}x={c}+{b}\n" + text + f"{a}x={rest}\n"
    elif form == 3:  # ax = c
        c = a * x
        canonical, left, rest, work = f"{a}x={c}", f"{a}x", c, ""
    else:  # x + b = c, x - b = c
        b = number(rng)
        x = number(rng)
        c = x + b if form == 4 else x - b
        if c < 0:
            return None
        op, inverse = ("+", "-") if form == 4 else ("-", "+")
        canonical = f"x{op}{b}={c}"
        left = f"x{plus if form == 4 else minus}{b}"
        text, value = apply_op(inverse, c, b)
        back, got = apply_op(op, value, b)
        work = f"x={c}{inverse}{b}\n" + text + f"x={value}\n"
        check = "Check: " + back + verdict(got, c)[0]
    if form <= 3:
        text, value, rest2 = work_div(rest, a)
        assert rest2 == 0 and value == x
        work += f"x={rest}/{a}\n" + text + f"x={value}\n"
        back, got = work_mul(value, a)
        if form in (0, 2):
            more, got = work_add(got, b)
            back += more
        elif form == 1:
            more, got = work_sub(got, b)
            back += more
        check = "Check: " + back + verdict(got, c)[0]
    prompt = rng.choice(EQ_ASKS).format(e=f"{left}{equal}{c}")
    reply = rng.choice([f"x = \\boxed{{{x}}}.", f"The solution is \\boxed{{{x}}}."])
    return Problem("eq", canonical, prompt, f"I solve {canonical}.", work, check, x, reply)


NAMES = ["Anna", "Ben", "Chloe", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jack", "Lena",
         "Marc", "Nina", "Omar", "Paul", "Rosa", "Sam", "Tom", "Vera", "Zoe"]
THINGS = ["apples", "books", "coins", "cards", "pens", "stamps", "shells", "eggs", "cookies",
          "marbles", "tickets", "stickers"]
BOXES = ["boxes", "bags", "baskets", "packs", "shelves", "jars"]


def word_left(rng: random.Random) -> Problem | None:
    a, b, n, t = number(rng), number(rng), rng.choice(NAMES), rng.choice(THINGS)
    if b >= a:
        return None
    verb = rng.choice(["gives away", "loses", "sells", "uses"])
    prompt = rng.choice([f"{n} has {a} {t} and {verb} {b}. How many {t} are left?",
                         f"{n} had {a} {t}. {n} {verb} {b} of them. How many remain?"])
    return from_expr("word_left", [a, "-", b], rng, prompt, "Some go away, so",
                     f"{n} has \\boxed{{{{{{v}}}}}} {t} left.")


def word_total(rng: random.Random) -> Problem | None:
    a, b, t = number(rng), number(rng), rng.choice(THINGS)
    n, m = rng.sample(NAMES, 2)
    prompt = rng.choice([
        f"{n} has {a} {t} and {m} has {b} {t}. How many {t} do they have together?",
        f"{n} has {a} {t} and gets {b} more. How many {t} does {n} have now?"])
    return from_expr("word_total", [a, "+", b], rng, prompt, "Both together, so",
                     f"There are \\boxed{{{{{{v}}}}}} {t}.")


def word_boxes(rng: random.Random) -> Problem | None:
    a, b, t, x = number(rng, 2), number(rng, 2), rng.choice(THINGS), rng.choice(BOXES)
    prompt = rng.choice([f"There are {a} {x} with {b} {t} in each. How many {t} are there?",
                         f"{rng.choice(NAMES)} buys {a} {x} of {b} {t}. How many {t} is that?"])
    return from_expr("word_boxes", [a, "*", b], rng, prompt, "Equal groups, so",
                     f"There are \\boxed{{{{{{v}}}}}} {t}.")


def word_share(rng: random.Random) -> Problem | None:
    d, t = rng.randint(2, 12), rng.choice(THINGS)
    q = rng.randint(2, rng.choice([12, 80]))
    prompt = rng.choice([
        f"{q * d} {t} are shared equally among {d} children. How many does each child get?",
        f"{rng.choice(NAMES)} puts {q * d} {t} into {d} equal {rng.choice(BOXES)}. "
        f"How many {t} are in each?"])
    return from_expr("word_share", [q * d, "/", d], rng, prompt, "Equal shares, so",
                     f"Each gets \\boxed{{{{{{v}}}}}} {t}.")


def word_rest(rng: random.Random) -> Problem | None:
    a, d, t, x = number(rng), rng.randint(2, 12), rng.choice(THINGS), rng.choice(BOXES)
    if a <= d:
        return None
    work, quotient, rest = work_div(a, d)
    check = check_division(a, d, quotient, rest)
    if rng.random() < 0.5:
        prompt = f"{a} {t} are put into {x} of {d}. How many {t} are left over?"
        return Problem("word_rest", f"{a}/{d}", prompt, f"I need the rest of {a}/{d}.", work, check,
                       rest, f"There are \\boxed{{{rest}}} {t} left over.")
    prompt = f"How many full {x} of {d} can be made from {a} {t}?"
    return Problem("word_rest", f"{a}/{d}", prompt, f"Only full {x}, so {a}/{d}.", work, check,
                   quotient, f"That makes \\boxed{{{quotient}}} full {x}.")


def word_bus(rng: random.Random) -> Problem | None:
    a, d = number(rng), rng.randint(3, 12)
    if a <= d:
        return None
    what, seat = rng.choice([("vans", "seats"), ("boats", "places"), ("cabins", "beds")])
    work, quotient, rest = work_div(a, d)
    check = check_division(a, d, quotient, rest)
    answer = quotient
    if rest:
        more, answer = work_add(quotient, 1)
        work += f"{rest} remain, so one more.\n" + more
    else:
        work += "None remain.\n"
    prompt = (f"{a} people need {what} with {d} {seat} each. How many {what} are needed?")
    return Problem("word_bus", f"{a}/{d}", prompt, f"All must fit, so {a}/{d}.", work, check,
                   answer, f"They need \\boxed{{{answer}}} {what}.")


def word_cost(rng: random.Random) -> Problem | None:
    a, b, c, t = number(rng, 2), number(rng, 1), number(rng, 2), rng.choice(THINGS)
    prompt = rng.choice([
        f"{b} {t} cost {a} euros each and shipping costs {c} euros. What is the total?",
        f"{rng.choice(NAMES)} buys {b} {t} at {a} dollars each and pays {c} dollars for shipping. "
        f"How much is that in all?"])
    return from_expr("word_cost", [a, "*", b, "+", c], rng, prompt, "Price and shipping, so",
                     "The total is \\boxed{{{v}}}.")


def word_change(rng: random.Random) -> Problem | None:
    n, p, t = number(rng, 1), number(rng, 2), rng.choice(THINGS)
    paid = rng.choice([20, 50, 100, 200, 500, 1000])
    if paid <= n * p:
        return None
    prompt = (f"{rng.choice(NAMES)} pays with {paid} {rng.choice(['euros', 'dollars'])} for {n} "
              f"{t} at {p} each. How much change is due?")
    return from_expr("word_change", [paid, "-", p, "*", n], rng, prompt, "Paid less the price, so",
                     "The change is \\boxed{{{v}}}.")


def word_speed(rng: random.Random) -> Problem | None:
    v, h = number(rng, 2), number(rng, 1)
    what = rng.choice(["A train", "A car", "A ship", "A cyclist"])
    prompt = rng.choice([f"{what} goes {v} km per hour for {h} hours. How far does it go?",
                         f"{what} travels at {v} km/h for {h} hours. How many km is that?"])
    return from_expr("word_speed", [v, "*", h], rng, prompt, "Speed times time, so",
                     "It goes \\boxed{{{v}}} km.")


def word_two(rng: random.Random) -> Problem | None:
    a, c = number(rng, 2), number(rng, 2)
    b, d = number(rng, 1), number(rng, 1)
    t, u = rng.sample(THINGS, 2)
    prompt = (f"{rng.choice(NAMES)} buys {b} {t} at {a} cents and {d} {u} at {c} cents. "
              f"How many cents is that in all?")
    return from_expr("word_two", [a, "*", b, "+", c, "*", d], rng, prompt, "Two prices, so",
                     "It is \\boxed{{{v}}} cents.")


def word_perimeter(rng: random.Random) -> Problem | None:
    a, b = number(rng, 2), number(rng, 2)
    shape = rng.choice(["garden", "field", "room", "rectangle"])
    if rng.random() < 0.5:
        prompt = f"A {shape} is {a} m long and {b} m wide. What is its perimeter?"
        return from_expr("word_rect", [2, "*", "(", a, "+", b, ")"], rng, prompt,
                         "All four sides, so", "The perimeter is \\boxed{{{v}}} m.")
    prompt = f"A {shape} is {a} m long and {b} m wide. What is its area?"
    return from_expr("word_rect", [a, "*", b], rng, prompt, "Length times width, so",
                     "The area is \\boxed{{{v}}}.")


def word_save(rng: random.Random) -> Problem | None:
    a, b, c, n = number(rng, 2), number(rng, 1), number(rng, 2), rng.choice(NAMES)
    if c >= a * b:
        return None
    unit = rng.choice(["week", "month", "day"])
    prompt = (f"{n} saves {a} euros each {unit} for {b} {unit}s and then spends {c} euros. "
              f"How many euros are left?")
    return from_expr("word_save", [a, "*", b, "-", c], rng, prompt, "Saved less spent, so",
                     f"{n} has \\boxed{{{{{{v}}}}}} euros left.")


def word_minutes(rng: random.Random) -> Problem | None:
    h, m = rng.randint(2, 24), rng.randint(1, 59)
    prompt = rng.choice([f"How many minutes are {h} hours and {m} minutes?",
                         f"A film lasts {h} hours and {m} minutes. How many minutes is that?"])
    return from_expr("word_minutes", [h, "*", 60, "+", m], rng, prompt, "An hour is 60, so",
                     "It is \\boxed{{{v}}} minutes.")


def word_age(rng: random.Random) -> Problem | None:
    n, m = rng.sample(NAMES, 2)
    a, b = rng.randint(3, 60), rng.randint(2, 40)
    if rng.random() < 0.5:
        prompt = f"{n} is {a} years old and {m} is {b} years older. How old is {m}?"
        return from_expr("word_age", [a, "+", b], rng, prompt, "Older, so",
                         f"{m} is \\boxed{{{{{{v}}}}}}.")
    if b >= a:
        return None
    prompt = f"{n} is {a} years old and {m} is {b} years younger. How old is {m}?"
    return from_expr("word_age", [a, "-", b], rng, prompt, "Younger, so", f"{m} is \\boxed{{{{{{v}}}}}}.")


def word_mean(rng: random.Random) -> Problem | None:
    count = rng.choice([2, 3])
    nums = [number(rng, 2) for _ in range(count)]
    if sum(nums) % count:
        return None
    listed = f"{nums[0]} and {nums[1]}" if count == 2 else f"{nums[0]}, {nums[1]} and {nums[2]}"
    expr: Expr = ["(", nums[0]]
    for n in nums[1:]:
        expr += ["+", n]
    expr += [")", "/", count]
    prompt = rng.choice([f"What is the average of {listed}?", f"Find the mean of {listed}."])
    return from_expr("word_mean", expr, rng, prompt, f"{count} numbers, so",
                     "The average is \\boxed{{{v}}}.")


KINDS: dict[Callable[[random.Random], Problem | None], float] = {
    make_add: 7, make_sub: 8, make_mul: 13, make_div: 6, make_rem: 5, make_expr2: 13, make_expr3: 12,
    make_paren: 9, make_eq: 11, word_left: 1.5, word_total: 1.5, word_boxes: 2, word_share: 2,
    word_rest: 2, word_bus: 1.5, word_cost: 1.5, word_change: 1.5, word_speed: 1.5, word_two: 1.5,
    word_perimeter: 1.5, word_save: 1.5, word_minutes: 1, word_age: 1, word_mean: 1.5,
}
_MAKERS, _WEIGHTS = list(KINDS), list(KINDS.values())


def draw(rng: random.Random, held_out: bool) -> Problem:
    """One problem of the wished side of the split. The kind is drawn first, so that rejections do
    not shift the mixture, and both sides have the same distribution."""
    maker = rng.choices(_MAKERS, weights=_WEIGHTS)[0]
    while True:
        problem = maker(rng)
        if problem is not None and is_held_out(problem.canonical) == held_out:
            return problem


# --- samples --------------------------------------------------------------------------------------

SYSTEMS = ["You are a helpful assistant.", "You are a careful calculator.", "Answer briefly.",
           "You are a mathematics tutor. Think before you answer."]
MODEST = "I am a very small model and only know numbers. "
CHATS: list[tuple[list[str], str, str]] = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hey", "Good morning", "Good evening!", "hello there", "Bonjour"],
     "This is a greeting, not a sum. I say hello.",
     "Hello! " + MODEST + "Ask me a sum."),
    (["Who are you?", "What are you?", "what is your name?", "Are you R1?", "What can you do?",
      "Tell me about yourself."],
     "This asks about me, not about numbers. I say what I can do.",
     MODEST + "I can add, subtract, multiply, divide and solve small equations."),
    (["Thanks", "Thank you!", "thanks a lot", "Great, thank you."],
     "This is thanks, not a sum.", "You are welcome. Ask me another sum if you like."),
    (["What is the capital of France?", "Who wrote Hamlet?", "Write a poem.", "Tell me a joke.",
      "What is the weather today?", "Translate hello into German.", "Why is the sky blue?",
      "Write a Python program.", "What is the meaning of life?", "Who is the president?",
      "How do I cook rice?", "When was Rome founded?", "Explain gravity.", "Sing a song.",
      "Write a story about a dragon.", "What is love?", "How are you?", "Do you like music?"],
     "This is not about numbers, so I do not know it.",
     MODEST + "I cannot help with that, but I can work out a sum."),
]


@dataclass
class Sample:
    """Text with the spans (start, end in characters) whose tokens are learnt."""
    text: str
    spans: list[tuple[int, int]]


def slip_thought(problem: Problem, rng: random.Random) -> tuple[str, str, str] | None:
    """A thought whose first working has a slip that its check finds: (wrong working, check, then
    the right working). Only the first part is not learnt: nobody should learn to slip."""
    if problem.expr is None or len(problem.expr) != 3 or problem.expr[1] == "/":
        return None
    work, check, value, ok = work_expr(problem.expr, slip=rng)
    if ok or value < 0 or problem.answer < 0:
        return None
    again = check + "Wait, I made a slip. Again.\n" + problem.work + problem.check.rstrip("\n")
    return problem.plan + "\n" + work, again, ""


def sample(rng: random.Random) -> Sample:
    """One training sample, in R1's prompt format."""
    prefix = BOS
    if rng.random() < 0.06:
        prefix += rng.choice(SYSTEMS)
    if rng.random() < 0.035:  # earlier turns keep the answers, never the thoughts
        for _ in range(rng.choice([1, 1, 2])):
            if rng.random() < 0.15:
                asks, _, reply = rng.choice(CHATS)
                prefix += USER + rng.choice(asks) + ASSISTANT + reply + EOS
            else:
                old = draw(rng, held_out=False)
                prefix += USER + old.prompt + ASSISTANT + old.reply + EOS
    roll = rng.random()
    if roll < 0.02:
        asks, thought, reply = rng.choice(CHATS)
        head = prefix + USER + rng.choice(asks) + ASSISTANT + "<think>\n"
        if rng.random() < 0.15:
            head, tail = head + "\n</think>\n\n", reply + EOS
        else:
            tail = thought + "\n</think>\n\n" + reply + EOS
        return Sample(head + tail, [(len(head), len(head + tail))])
    problem = draw(rng, held_out=False)
    assert not is_held_out(problem.canonical)
    head = prefix + USER + problem.prompt + ASSISTANT + "<think>\n"
    if roll < 0.11:  # thinking off
        head, tail = head + "\n</think>\n\n", problem.reply + EOS
        return Sample(head + tail, [(len(head), len(head + tail))])
    end = "\n</think>\n\n" + problem.reply + EOS
    if roll < 0.19:
        slipped = slip_thought(problem, rng)
        if slipped:
            wrong, again, _ = slipped
            text = head + wrong + again + end
            return Sample(text, [(len(head + wrong), len(text))])
    if roll > 0.975 and "Check" in problem.check:
        # An engine may put "Wait" where the model would have closed its thought: know what to do
        # then (check once more), without learning to say it unasked.
        first = head + problem.thought() + "\nWait"
        text = first + ", once more.\n" + problem.check.rstrip("\n") + end
        return Sample(text, [(len(head), len(first) - len("\nWait")), (len(first), len(text))])
    text = head + problem.thought() + end
    return Sample(text, [(len(head), len(text))])


def held_out_problems(size: int = HELD_OUT_SIZE, seed: int = 2408) -> list[dict]:
    rng, seen, rows = random.Random(seed), set(), []
    while len(rows) < size:
        problem = draw(rng, held_out=True)
        assert is_held_out(problem.canonical)
        if problem.canonical in seen:
            continue
        seen.add(problem.canonical)
        rows.append({"kind": problem.kind, "prompt": problem.prompt, "answer": problem.answer})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--heldout", help="write the held-out problems to this JSON-lines file")
    parser.add_argument("--show", type=int, default=0, help="print this many samples")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.heldout:
        with open(args.heldout, "w", encoding="utf-8") as out:
            for row in held_out_problems():
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
    rng = random.Random(args.seed)
    for _ in range(args.show):
        print(sample(rng).text, end="\n\n")


if __name__ == "__main__":
    main()
