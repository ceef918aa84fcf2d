// JinjaRun: runs a parsed template over a conversation and keeps the template's words apart.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/text/jinja_functions.hpp"
#include "pensee/text/jinja_parser.hpp"
#include "pensee/text/jinja_slice.hpp"
#include "pensee/text/jinja_value.hpp"
#include "pensee/text/jinja_work.hpp"

namespace pensee {

// A name and its value, of those that a template is given.
using JinjaVariable = std::pair<std::string, JinjaValue>;

// One rendering; `now` is the time here unless given. Time and memory have a limit in proportion to
// the template and the messages, so that a hostile template ends in an error soon.
//
// Errors: kInvalidArgument if the template refuses the messages (raise_exception) or fails on them
// as it would in Python; kUnsupported for what this interpreter cannot do, or for too much work.
class JinjaRun {
 public:
  static Result<MarkedText> render(const JinjaProgram& program, std::span<const Message> messages,
                                   std::vector<JinjaVariable> variables,
                                   const std::optional<std::tm>& now) {
    JinjaRun run(program, std::move(variables), now);
    JinjaValue::List list;
    size_t bytes = program.bytes + messages.size() * kBytesOfMessage;
    for (const Message& message : messages) {
      list.push_back(JinjaValue::message(message));
      bytes += message.content.size() + message.reasoning_content.value_or("").size();
    }
    run.work_left_ = kLeastWork + kWorkOfByte * bytes;
    run.scopes_[0].emplace_back("messages", JinjaValue::of(std::move(list)));
    PENSEE_RETURN_IF_ERROR(run.execute(program.body));
    return std::move(run.output_);
  }

 private:
  using Kind = JinjaValue::Kind;
  using Value = Result<JinjaValue>;
  using Expr = JinjaExpr;

  // Work is counted in bytes: those copied or compared, and those that values take.
  static constexpr size_t kLeastWork = size_t{1} << 20U;
  static constexpr size_t kWorkOfByte = 128;
  static constexpr size_t kBytesOfMessage = 256;  // that one counts as, however short

  static constexpr int kMaxListDepth = 64;
  // Macros that call each other, as each is as much of the stack as a whole template may take.
  static constexpr int kMaxCalls = 4;

  JinjaRun(const JinjaProgram& program, std::vector<JinjaVariable> variables,
           const std::optional<std::tm>& now)
      : program_(program), now_(now) {
    scopes_.push_back(std::move(variables));
  }

  Result<void> spend(size_t work) {
    if (work >= work_left_) return unsupported("more work than any chat template needs");
    work_left_ -= work + 1;
    return {};
  }

  static Error fails(const std::string& what) {
    return invalid_argument("the chat template fails on these messages: " + what);
  }

  // ---- statements ----

  Result<void> execute(const std::vector<JinjaIndex>& body) {
    for (const JinjaIndex index : body) {
      PENSEE_RETURN_IF_ERROR(spend(0));
      PENSEE_RETURN_IF_ERROR(execute(index));
    }
    return {};
  }

  Result<void> execute(JinjaIndex index) {
    const JinjaStatement& statement = program_.statements[static_cast<size_t>(index)];
    switch (statement.kind) {
      case JinjaStatement::Kind::kText:
        return write(MarkedText(statement.text, true));
      case JinjaStatement::Kind::kPrint: {
        PENSEE_ASSIGN_OR_RETURN(const JinjaValue value, evaluate(statement.value));
        PENSEE_ASSIGN_OR_RETURN(const MarkedText text, printed(value));
        return write(text);
      }
      case JinjaStatement::Kind::kIf:
        for (const JinjaStatement::Branch& branch : statement.branches) {
          bool taken = branch.condition == kNoIndex;
          if (!taken) {
            PENSEE_ASSIGN_OR_RETURN(const JinjaValue condition, evaluate(branch.condition));
            taken = condition.truth();
          }
          if (taken) return execute(branch.body);
        }
        return {};
      case JinjaStatement::Kind::kFor:
        return loop(statement);
      case JinjaStatement::Kind::kSet:
        return set(statement);
      case JinjaStatement::Kind::kSetBlock: {
        PENSEE_ASSIGN_OR_RETURN(JinjaValue text, written(statement.branches[0].body, {}));
        return assign(scopes_.back(), statement.text, std::move(text));
      }
      case JinjaStatement::Kind::kMacro:
        // One of a loop's body would know the loop's names.
        if (scopes_.size() > 1) return unsupported("a macro that is defined in a loop or a macro");
        return assign(scopes_[0], statement.text, JinjaValue::function(statement.text, index));
    }
    return {};
  }

  Result<void> write(const MarkedText& text) {
    PENSEE_RETURN_IF_ERROR(spend(text.size()));
    output_.append(text);
    return {};
  }

  Result<void> set(const JinjaStatement& statement) {
    PENSEE_ASSIGN_OR_RETURN(JinjaValue value, evaluate(statement.value));
    if (statement.attribute.empty()) {
      return assign(scopes_.back(), statement.text, std::move(value));
    }
    PENSEE_ASSIGN_OR_RETURN(const JinjaValue target, variable(statement.text));
    if (!target.is(Kind::kNamespace)) {
      return fails(statement.text + " is no namespace, but " + target.type());
    }
    return assign(namespaces_[static_cast<size_t>(target.number)], statement.attribute,
                  std::move(value));
  }

  Result<void> assign(std::vector<JinjaVariable>& scope, std::string_view name, JinjaValue value) {
    PENSEE_RETURN_IF_ERROR(spend(scope.size() + kJinjaWorkOfValue));
    for (JinjaVariable& variable : scope) {
      if (variable.first != name) continue;
      variable.second = std::move(value);
      return {};
    }
    scope.emplace_back(name, std::move(value));
    return {};
  }

  // What `body` writes, with these variables besides those that are there.
  Value written(const std::vector<JinjaIndex>& body, std::vector<JinjaVariable> variables) {
    PENSEE_RETURN_IF_ERROR(spend(kJinjaWorkOfValue));
    MarkedText outside = std::exchange(output_, {});
    scopes_.push_back(std::move(variables));
    PENSEE_RETURN_IF_ERROR(execute(body));
    scopes_.pop_back();
    return JinjaValue::of(std::exchange(output_, std::move(outside)));
  }

  // What is set in a loop's body is gone when the body begins again.
  Result<void> loop(const JinjaStatement& statement) {
    PENSEE_ASSIGN_OR_RETURN(JinjaValue values, evaluate(statement.value));
    if (values.is(Kind::kUndefined)) values = JinjaValue::of(JinjaValue::List());
    if (!values.is(Kind::kList)) return unsupported("a loop over " + std::string(values.type()));
    if (!statement.targets.empty() && values.size() > 0) {
      return unsupported("a loop with several names");
    }
    if (statement.condition != kNoIndex) {
      PENSEE_ASSIGN_OR_RETURN(values, chosen(statement, values));
    }
    if (values.size() == 0 && statement.branches.size() > 1) {
      return execute(statement.branches[1].body);
    }
    JinjaValue here = values;
    here.kind = Kind::kLoop;
    scopes_.emplace_back();
    for (size_t i = 0; i < values.size(); ++i) {
      PENSEE_RETURN_IF_ERROR(spend(2 * kJinjaWorkOfValue));  // two variables
      here.number = static_cast<int64_t>(i);
      scopes_.back().clear();
      scopes_.back().emplace_back("loop", here);
      scopes_.back().emplace_back(statement.text, (*values.list)[i]);
      PENSEE_RETURN_IF_ERROR(execute(statement.branches[0].body));
    }
    scopes_.pop_back();
    return {};
  }

  // The values that the loop's own condition takes.
  Value chosen(const JinjaStatement& statement, const JinjaValue& values) {
    JinjaValue::List list;
    scopes_.emplace_back();
    for (const JinjaValue& value : *values.list) {
      PENSEE_RETURN_IF_ERROR(assign(scopes_.back(), statement.text, value));
      PENSEE_ASSIGN_OR_RETURN(const JinjaValue condition, evaluate(statement.condition));
      if (condition.truth()) list.push_back(value);
    }
    scopes_.pop_back();
    return JinjaValue::of(std::move(list));
  }

  // ---- expressions ----

  [[nodiscard]] const Expr& expr(JinjaIndex index) const {
    return program_.expressions[static_cast<size_t>(index)];
  }

  Value variable(std::string_view name) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      PENSEE_RETURN_IF_ERROR(spend(scope->size()));
      for (const JinjaVariable& variable : *scope) {
        if (variable.first == name) return variable.second;
      }
    }
    static constexpr auto kFunctions =
        std::to_array<std::string_view>({"namespace", "raise_exception", "strftime_now", "range",
                                         "dict", "lipsum", "cycler", "joiner"});
    const bool found = std::find(kFunctions.begin(), kFunctions.end(), name) != kFunctions.end();
    return found ? JinjaValue::function(std::string(name)) : JinjaValue();
  }

  Value evaluate(JinjaIndex index) {
    PENSEE_RETURN_IF_ERROR(spend(0));
    const Expr& e = expr(index);
    switch (e.kind) {
      case Expr::Kind::kText:
        PENSEE_RETURN_IF_ERROR(spend(e.text.size() + kJinjaWorkOfValue));
        return JinjaValue::words(e.text);
      case Expr::Kind::kInteger:
        return JinjaValue::integer(e.number);
      case Expr::Kind::kBool:
        return JinjaValue::boolean(e.number != 0);
      case Expr::Kind::kNone:
        return JinjaValue::none();
      case Expr::Kind::kName:
        return variable(e.text);
      case Expr::Kind::kDict:
        return unsupported("a dictionary");
      case Expr::Kind::kList: {
        PENSEE_ASSIGN_OR_RETURN(JinjaArguments values, arguments(e, 0));
        JinjaValue list = JinjaValue::of(std::move(values.values));
        // No other list is deeper than those that its entries come from.
        if (list.depth > kMaxListDepth) {
          return unsupported("lists more than " + std::to_string(kMaxListDepth) + " deep");
        }
        return list;
      }
      case Expr::Kind::kAnd:
      case Expr::Kind::kOr: {
        PENSEE_ASSIGN_OR_RETURN(JinjaValue left, evaluate(e.operands[0]));
        const bool decided = left.truth() == (e.kind == Expr::Kind::kOr);
        return decided ? Value(std::move(left)) : evaluate(e.operands[1]);
      }
      case Expr::Kind::kChoice: {
        PENSEE_ASSIGN_OR_RETURN(const JinjaValue condition, evaluate(e.operands[0]));
        const JinjaIndex taken = e.operands[condition.truth() ? 1 : 2];
        return taken == kNoIndex ? Value(JinjaValue()) : evaluate(taken);
      }
      case Expr::Kind::kCall:
        return call(e);
      case Expr::Kind::kSlice:
        return slice(e);
      default:
        return operation(e);
    }
  }

  // Those whose operands are all evaluated first.
  Value operation(const Expr& e) {
    PENSEE_ASSIGN_OR_RETURN(JinjaValue left, evaluate(e.operands[0]));
    if (e.kind == Expr::Kind::kNot) return JinjaValue::boolean(!left.truth());
    if (e.kind == Expr::Kind::kNegative) {
      if (!left.is_number()) return fails(std::string(left.type()) + " with a sign");
      return JinjaValue::integer(-left.number);  // |number| < 2^62: see jinja_arithmetic
    }
    if (e.kind == Expr::Kind::kAttribute) return attribute(left, e.text);
    PENSEE_ASSIGN_OR_RETURN(const JinjaArguments others, arguments(e, 1));
    const bool asks_kind = e.kind == Expr::Kind::kTest && others.values.empty();
    PENSEE_RETURN_IF_ERROR(spend(asks_kind ? kJinjaWorkOfValue : jinja_work(e.text, left, others)));
    if (e.kind == Expr::Kind::kItem) return item(left, others.values[0]);
    if (e.kind == Expr::Kind::kFilter) return jinja_filter(e.text, left, others);
    if (e.kind == Expr::Kind::kTest) return jinja_test(e.text, left, others);
    return jinja_operator(e.text, left, others.values[0]);
  }

  // The values of the operands from number `first` on.
  Result<JinjaArguments> arguments(const Expr& e, size_t first) {
    JinjaArguments arguments{{}, e.keywords};
    for (size_t i = first; i < e.operands.size(); ++i) {
      PENSEE_ASSIGN_OR_RETURN(JinjaValue value, evaluate(e.operands[i]));
      PENSEE_RETURN_IF_ERROR(spend(kJinjaWorkOfValue));
      arguments.values.push_back(std::move(value));
    }
    return arguments;
  }

  Value attribute(const JinjaValue& value, std::string_view name) {
    if (value.is(Kind::kUndefined)) return fails(std::string(name) + " of an undefined value");
    if (value.is(Kind::kMessage)) return value.of_key(name);
    if (value.is(Kind::kLoop)) return jinja_loop_attribute(value, name);
    if (value.is(Kind::kNamespace)) {
      const auto& variables = namespaces_[static_cast<size_t>(value.number)];
      PENSEE_RETURN_IF_ERROR(spend(variables.size()));
      for (const JinjaVariable& variable : variables) {
        if (variable.first == name) return variable.second;
      }
    }
    return JinjaValue();
  }

  Value item(const JinjaValue& value, const JinjaValue& index) {
    if (index.is(Kind::kText) && !value.is(Kind::kList)) {
      return attribute(value, index.text->text());
    }
    if (value.is(Kind::kUndefined)) return fails("an item of an undefined value");
    PENSEE_ASSIGN_OR_RETURN(const int64_t n, places(value, "an item of "));
    if (!index.is_number()) return JinjaValue();
    const int64_t i = index.number < 0 ? index.number + n : index.number;
    if (i < 0 || i >= n) return JinjaValue();
    if (value.is(Kind::kText)) return JinjaValue::of(jinja_slice(*value.text, {i, 1, 1}));
    return (*value.list)[static_cast<size_t>(i)];
  }

  // How many indices a list or a text has. kUnsupported for what has none.
  static Result<int64_t> places(const JinjaValue& value, const char* what) {
    if (value.is(Kind::kText)) return value.text->characters();
    if (value.is(Kind::kList)) return static_cast<int64_t>(value.size());
    return unsupported(what + std::string(value.type()));
  }

  Value slice(const Expr& e) {
    PENSEE_ASSIGN_OR_RETURN(const JinjaValue value, evaluate(e.operands[0]));
    if (value.is(Kind::kUndefined)) return fails("a part of an undefined value");
    const bool is_text = value.is(Kind::kText);
    PENSEE_RETURN_IF_ERROR(spend(kJinjaWorkOfValue + (is_text ? value.size() : 0)));
    PENSEE_ASSIGN_OR_RETURN(const int64_t n, places(value, "a part of "));
    std::array<std::optional<int64_t>, 3> parts;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (e.operands[i + 1] == kNoIndex) continue;
      PENSEE_ASSIGN_OR_RETURN(const JinjaValue part, evaluate(e.operands[i + 1]));
      if (part.is(Kind::kNone)) continue;
      if (!part.is_number()) return fails("a slice by " + std::string(part.type()));
      parts[i] = part.number;
    }
    if (parts[2] == 0) return fails("a slice with step 0");
    const JinjaRange range = jinja_range(n, parts[0], parts[1], parts[2].value_or(1));
    if (is_text) return JinjaValue::of(jinja_slice(*value.text, range));
    PENSEE_RETURN_IF_ERROR(spend(static_cast<size_t>(range.count) * kJinjaWorkOfValue));
    return JinjaValue::of(jinja_slice(*value.list, range));
  }

  Value call(const Expr& e) {
    const Expr& callee = expr(e.operands[0]);
    if (callee.kind == Expr::Kind::kAttribute) {
      PENSEE_ASSIGN_OR_RETURN(const JinjaValue self, evaluate(callee.operands[0]));
      if (self.is(Kind::kText) || self.is(Kind::kMessage)) {
        PENSEE_ASSIGN_OR_RETURN(const JinjaArguments given, arguments(e, 1));
        PENSEE_RETURN_IF_ERROR(spend(jinja_work(callee.text, self, given)));
        return jinja_method(callee.text, self, given);
      }
      if (self.is(Kind::kUndefined)) return fails(callee.text + "() of an undefined value");
      return unsupported("the method " + callee.text + " of " + std::string(self.type()));
    }
    PENSEE_ASSIGN_OR_RETURN(const JinjaValue function, evaluate(e.operands[0]));
    if (!function.is(Kind::kFunction)) return fails("a call of " + std::string(function.type()));
    PENSEE_ASSIGN_OR_RETURN(const JinjaArguments given, arguments(e, 1));
    if (function.number != JinjaValue::kNoMacro) {
      return call_macro(program_.statements[static_cast<size_t>(function.number)], given);
    }
    const std::string& name = function.text->text();
    if (name == "namespace") return new_namespace(given);
    if (given.is_one(Kind::kText)) {
      const std::string& text = given.values[0].text->text();
      if (name == "raise_exception") {
        return invalid_argument("the chat template refuses these messages: " + text);
      }
      if (name == "strftime_now") {
        PENSEE_RETURN_IF_ERROR(spend(text.size() * kJinjaMostOfDate));
        if (!now_) now_ = local_time();
        return jinja_date(text, *now_);
      }
    }
    return unsupported("this call of the function " + name);
  }

  // Only templates that ask for it need it: the C library finds the time zone in the environment.
  static std::tm local_time() {
    const std::time_t seconds = std::time(nullptr);
    std::tm now{};
    localtime_r(&seconds, &now);
    return now;
  }

  // A macro sees its parameters and what is set outside of all loops.
  Value call_macro(const JinjaStatement& macro, const JinjaArguments& given) {
    const std::vector<std::string>& names = macro.targets;
    const auto has_place = [&](const std::string& name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    PENSEE_RETURN_IF_ERROR(spend(names.size() * (kJinjaWorkOfValue + given.values.size())));
    const size_t in_order = given.values.size() - given.keywords.size();
    if (in_order > names.size() ||
        !std::all_of(given.keywords.begin(), given.keywords.end(), has_place)) {
      return unsupported("arguments that the macro " + macro.text + " has no names for");
    }
    if (calls_ == kMaxCalls) {
      return unsupported("more than " + std::to_string(kMaxCalls) + " macros in each other");
    }
    std::vector<std::vector<JinjaVariable>> hidden(std::make_move_iterator(scopes_.begin() + 1),
                                                   std::make_move_iterator(scopes_.end()));
    scopes_.resize(1);
    ++calls_;
    PENSEE_ASSIGN_OR_RETURN(std::vector<JinjaVariable> arguments, bound(macro, given, in_order));
    PENSEE_ASSIGN_OR_RETURN(JinjaValue text, written(macro.branches[0].body, std::move(arguments)));
    --calls_;
    std::move(hidden.begin(), hidden.end(), std::back_inserter(scopes_));
    return text;
  }

  // The macro's parameters with their values, of which the first `in_order` have no name. A default
  // may name other parameters; those after it have no value yet unless it was given.
  Result<std::vector<JinjaVariable>> bound(const JinjaStatement& macro, const JinjaArguments& given,
                                           size_t in_order) {
    const size_t first_default = macro.targets.size() - macro.defaults.size();
    scopes_.emplace_back();
    for (const std::string& name : macro.targets) scopes_.back().emplace_back(name, JinjaValue());
    std::vector<size_t> missing;
    for (size_t i = 0; i < macro.targets.size(); ++i) {
      const auto named = std::find(given.keywords.begin(), given.keywords.end(), macro.targets[i]);
      JinjaValue& value = scopes_.back()[i].second;
      if (i < in_order) {
        if (named != given.keywords.end()) return fails(macro.targets[i] + " is given twice");
        value = given.values[i];
      } else if (named != given.keywords.end()) {
        value = given.values[in_order + static_cast<size_t>(named - given.keywords.begin())];
      } else if (i >= first_default) {
        missing.push_back(i);
      }
    }
    for (const size_t i : missing) {
      PENSEE_ASSIGN_OR_RETURN(JinjaValue value, evaluate(macro.defaults[i - first_default]));
      scopes_.back()[i].second = std::move(value);
    }
    std::vector<JinjaVariable> variables = std::move(scopes_.back());
    scopes_.pop_back();
    return variables;
  }

  // Namespaces live as long as the run, whatever refers to them.
  Value new_namespace(const JinjaArguments& given) {
    if (given.keywords.size() != given.values.size()) return unsupported("namespace(of values)");
    PENSEE_RETURN_IF_ERROR(spend(kJinjaWorkOfValue));
    std::vector<JinjaVariable> variables;
    for (size_t i = 0; i < given.values.size(); ++i) {
      PENSEE_RETURN_IF_ERROR(assign(variables, given.keywords[i], given.values[i]));
    }
    namespaces_.push_back(std::move(variables));
    return JinjaValue{Kind::kNamespace, static_cast<int64_t>(namespaces_.size() - 1)};
  }

  const JinjaProgram& program_;
  std::optional<std::tm> now_;
  std::vector<std::vector<JinjaVariable>> scopes_;  // the last is looked into first
  std::vector<std::vector<JinjaVariable>> namespaces_;
  MarkedText output_;
  size_t work_left_ = 0;
  int calls_ = 0;  // of macros, in each other
};

}  // namespace pensee
