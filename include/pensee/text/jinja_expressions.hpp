// JinjaExprParser: the expressions of a Jinja template.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/jinja_program.hpp"
#include "pensee/text/jinja_tokens.hpp"

namespace pensee {

// What JinjaParser reads expressions with: a recursive-descent parser over the template's tokens.
// Nesting, and the depth of an expression's tree, have a limit.
class JinjaExprParser {
 protected:
  using Kind = JinjaToken::Kind;
  using Expr = JinjaExpr;
  using Index = Result<JinjaIndex>;

  // Of tags and brackets in each other, and of an expression's tree.
  static constexpr int kMaxNesting = 32;
  static constexpr int kMaxDepth = 128;

  JinjaExprParser(std::vector<JinjaToken> tokens, const std::string& file)
      : tokens_(std::move(tokens)), file_(file) {}

  [[nodiscard]] const JinjaToken& token() const { return tokens_[at_]; }
  [[nodiscard]] const JinjaToken& token_after() const {
    return tokens_[std::min(at_ + 1, tokens_.size() - 1)];
  }
  [[nodiscard]] bool is(Kind kind, std::string_view text) const {
    return token().kind == kind && token().text == text;
  }
  [[nodiscard]] bool is_operator(std::string_view text) const { return is(Kind::kOperator, text); }
  [[nodiscard]] bool is_name(std::string_view text) const { return is(Kind::kName, text); }
  bool skip(Kind kind, std::string_view text) {
    if (!is(kind, text)) return false;
    ++at_;
    return true;
  }
  bool skip_operator(std::string_view text) { return skip(Kind::kOperator, text); }
  bool skip_name(std::string_view text) { return skip(Kind::kName, text); }

  [[nodiscard]] Error unexpected(std::string_view expected) const {
    return corrupt_file(file_ + ": chat template: expected " + std::string(expected) + " at byte " +
                        std::to_string(token().at) + ", found " +
                        (token().kind == Kind::kEndOfFile ? std::string("its end")
                                                          : "\"" + printable(token().text) + "\""));
  }
  [[nodiscard]] Error unknown(const std::string& what) const {
    return unsupported(what + " at byte " + std::to_string(token().at));
  }
  Result<void> expect(Kind kind, std::string_view text) {
    return skip(kind, text) ? Result<void>() : Result<void>(unexpected(text));
  }
  Result<std::string> name() {
    if (token().kind != Kind::kName) return unexpected("a name");
    return tokens_[at_++].text;
  }

  // Counts how deep the parser is; the destructor goes back.
  class Level {
   public:
    explicit Level(int& nesting) : nesting_(nesting) { ++nesting_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --nesting_; }

   private:
    int& nesting_;
  };
  [[nodiscard]] Result<void> check_nesting() const {
    if (nesting_ <= kMaxNesting) return {};
    return unknown("more than " + std::to_string(kMaxNesting) + " levels of nesting");
  }

  Index add(Expr expr) {
    for (const JinjaIndex operand : expr.operands) {
      if (operand == kNoIndex) continue;
      expr.depth =
          std::max(expr.depth, program_.expressions[static_cast<size_t>(operand)].depth + 1);
    }
    if (expr.depth > kMaxDepth) return unknown("an expression of too many parts");
    program_.expressions.push_back(std::move(expr));
    return static_cast<JinjaIndex>(program_.expressions.size() - 1);
  }

  Index expression() {
    Level level(nesting_);
    PENSEE_RETURN_IF_ERROR(check_nesting());
    PENSEE_ASSIGN_OR_RETURN(JinjaIndex value, or_expression());
    while (skip_name("if")) {
      PENSEE_ASSIGN_OR_RETURN(const JinjaIndex condition, or_expression());
      JinjaIndex otherwise = kNoIndex;
      if (skip_name("else")) {
        PENSEE_ASSIGN_OR_RETURN(otherwise, expression());
      }
      PENSEE_ASSIGN_OR_RETURN(
          value, add({.kind = Expr::Kind::kChoice, .operands = {condition, value, otherwise}}));
    }
    return value;
  }

  Index or_expression() {
    PENSEE_ASSIGN_OR_RETURN(JinjaIndex left, and_expression());
    while (skip_name("or")) {
      PENSEE_ASSIGN_OR_RETURN(const JinjaIndex right, and_expression());
      PENSEE_ASSIGN_OR_RETURN(left, add({.kind = Expr::Kind::kOr, .operands = {left, right}}));
    }
    return left;
  }

  Index and_expression() {
    PENSEE_ASSIGN_OR_RETURN(JinjaIndex left, not_expression());
    while (skip_name("and")) {
      PENSEE_ASSIGN_OR_RETURN(const JinjaIndex right, not_expression());
      PENSEE_ASSIGN_OR_RETURN(left, add({.kind = Expr::Kind::kAnd, .operands = {left, right}}));
    }
    return left;
  }

  Index not_expression() {
    int n = 0;
    while (skip_name("not")) ++n;
    PENSEE_ASSIGN_OR_RETURN(JinjaIndex value, comparison());
    for (; n > 0; --n) {
      PENSEE_ASSIGN_OR_RETURN(value, add({.kind = Expr::Kind::kNot, .operands = {value}}));
    }
    return value;
  }

  // The comparing operator that stands here, which is skipped; empty if there is none.
  std::string comparing_operator() {
    static constexpr auto kOperators =
        std::to_array<std::string_view>({"==", "!=", "<", "<=", ">", ">="});
    if (token().kind == Kind::kOperator &&
        std::find(kOperators.begin(), kOperators.end(), token().text) != kOperators.end()) {
      return tokens_[at_++].text;
    }
    if (skip_name("in")) return "in";
    if (!is_name("not") || token_after().kind != Kind::kName || token_after().text != "in") {
      return "";
    }
    at_ += 2;
    return "not in";
  }

  Index comparison() {
    PENSEE_ASSIGN_OR_RETURN(JinjaIndex left, operation(0));
    const std::string compare = comparing_operator();
    if (compare.empty()) return left;
    PENSEE_ASSIGN_OR_RETURN(const JinjaIndex right, operation(0));
    if (!comparing_operator().empty()) return unknown("a chain of comparisons");
    return add({.kind = Expr::Kind::kBinary, .text = compare, .operands = {left, right}});
  }

  // The binary operators of arithmetic: level 0 is the loosest.
  Index operation(size_t level) {
    static constexpr std::array<std::string_view, 3> kLevels = {"+ - ", "~ ", "* / // % "};
    if (level == kLevels.size()) return unary();
    PENSEE_ASSIGN_OR_RETURN(JinjaIndex left, operation(level + 1));
    while (token().kind == Kind::kOperator &&
           kLevels[level].find(token().text + " ") != std::string_view::npos) {
      const std::string text = tokens_[at_++].text;
      PENSEE_ASSIGN_OR_RETURN(const JinjaIndex right, operation(level + 1));
      PENSEE_ASSIGN_OR_RETURN(
          left, add({.kind = Expr::Kind::kBinary, .text = text, .operands = {left, right}}));
    }
    if (is_operator("**")) return unknown("the operator **");
    return left;
  }

  Index unary() {
    const bool negative = skip_operator("-");
    if (is_operator("-") || is_operator("+")) return unknown("signs in a row, or a plus sign");
    PENSEE_ASSIGN_OR_RETURN(JinjaIndex value, primary());
    PENSEE_ASSIGN_OR_RETURN(value, postfix(value));
    if (negative) {
      PENSEE_ASSIGN_OR_RETURN(value, add({.kind = Expr::Kind::kNegative, .operands = {value}}));
    }
    return filters(value);
  }

  Index primary() {
    const JinjaToken first = token();
    if (first.kind == Kind::kInteger) {
      ++at_;
      return add({.kind = Expr::Kind::kInteger, .number = first.number});
    }
    if (first.kind == Kind::kString) {
      std::string text;
      while (token().kind == Kind::kString) text += tokens_[at_++].text;
      return add({.kind = Expr::Kind::kText, .text = std::move(text)});
    }
    if (skip_operator("(")) return list(")");
    if (skip_operator("[")) return list("]");
    if (skip_operator("{")) return dict();
    if (first.kind != Kind::kName) return unexpected("an expression");
    ++at_;
    if (first.text == "none" || first.text == "None") return add({.kind = Expr::Kind::kNone});
    const bool is_true = first.text == "true" || first.text == "True";
    if (is_true || first.text == "false" || first.text == "False") {
      return add({.kind = Expr::Kind::kBool, .number = is_true ? 1 : 0});
    }
    return add({.kind = Expr::Kind::kName, .text = first.text});
  }

  // The rest of a list, a tuple or a bracketed expression.
  Index list(std::string_view close) {
    Expr expr{.kind = Expr::Kind::kList};
    bool has_comma = false;
    while (!skip_operator(close)) {
      PENSEE_ASSIGN_OR_RETURN(const JinjaIndex item, expression());
      expr.operands.push_back(item);
      if (skip_operator(close)) break;
      PENSEE_RETURN_IF_ERROR(expect(Kind::kOperator, ","));
      has_comma = true;
    }
    const bool brackets_only = close == ")" && expr.operands.size() == 1 && !has_comma;
    return brackets_only ? Index(expr.operands[0]) : add(std::move(expr));
  }

  Index dict() {
    while (!skip_operator("}")) {
      PENSEE_RETURN_IF_ERROR(expression());
      PENSEE_RETURN_IF_ERROR(expect(Kind::kOperator, ":"));
      PENSEE_RETURN_IF_ERROR(expression());
      if (skip_operator("}")) break;
      PENSEE_RETURN_IF_ERROR(expect(Kind::kOperator, ","));
    }
    return add({.kind = Expr::Kind::kDict});
  }

  Index postfix(JinjaIndex value) {
    for (;;) {
      if (skip_operator(".")) {
        PENSEE_ASSIGN_OR_RETURN(std::string attribute, name());
        PENSEE_ASSIGN_OR_RETURN(value, add({.kind = Expr::Kind::kAttribute,
                                            .text = std::move(attribute),
                                            .operands = {value}}));
      } else if (skip_operator("[")) {
        PENSEE_ASSIGN_OR_RETURN(value, item(value));
      } else if (is_operator("(")) {
        PENSEE_ASSIGN_OR_RETURN(value, call({.kind = Expr::Kind::kCall, .operands = {value}}));
      } else {
        return value;
      }
    }
  }

  // The rest of value[...].
  Index item(JinjaIndex value) {
    Expr expr{.kind = Expr::Kind::kItem, .operands = {value}};
    for (int part = 0;; ++part) {
      JinjaIndex index = kNoIndex;
      if (!is_operator(":") && !is_operator("]")) {
        PENSEE_ASSIGN_OR_RETURN(index, expression());
      }
      expr.operands.push_back(index);
      if (part == 2 || !skip_operator(":")) break;
      expr.kind = Expr::Kind::kSlice;
    }
    if (is_operator(",")) return unknown("an index of several values");
    PENSEE_RETURN_IF_ERROR(expect(Kind::kOperator, "]"));
    if (expr.kind == Expr::Kind::kItem && expr.operands[1] == kNoIndex) {
      return unexpected("an index before this");
    }
    if (expr.kind == Expr::Kind::kSlice) expr.operands.resize(4, kNoIndex);
    return add(std::move(expr));
  }

  // Arguments, if there are any, of a call or filter or test that lacks nothing else.
  Index call(Expr expr) {
    if (!skip_operator("(")) return add(std::move(expr));
    while (!skip_operator(")")) {
      if (is_operator("*") || is_operator("**")) return unknown("a call with * or **");
      const bool is_keyword = token().kind == Kind::kName &&
                              token_after().kind == Kind::kOperator && token_after().text == "=";
      if (is_keyword) {
        expr.keywords.push_back(token().text);
        at_ += 2;
      } else if (!expr.keywords.empty()) {
        return unexpected("an argument with a name");
      }
      PENSEE_ASSIGN_OR_RETURN(const JinjaIndex argument, expression());
      expr.operands.push_back(argument);
      if (skip_operator(")")) break;
      PENSEE_RETURN_IF_ERROR(expect(Kind::kOperator, ","));
    }
    return add(std::move(expr));
  }

  Index filters(JinjaIndex value) {
    for (;;) {
      if (skip_operator("|")) {
        Expr filter{.kind = Expr::Kind::kFilter, .operands = {value}};
        PENSEE_ASSIGN_OR_RETURN(filter.text, name());
        if (is_operator(".")) return unknown("a filter with a dot");
        PENSEE_ASSIGN_OR_RETURN(value, call(std::move(filter)));
      } else if (skip_name("is")) {
        PENSEE_ASSIGN_OR_RETURN(value, test(value));
      } else if (is_operator("(")) {
        PENSEE_ASSIGN_OR_RETURN(value, call({.kind = Expr::Kind::kCall, .operands = {value}}));
      } else {
        return value;
      }
    }
  }

  // The rest of value is [not] name.
  Index test(JinjaIndex value) {
    const bool negated = skip_name("not");
    Expr expr{.kind = Expr::Kind::kTest, .operands = {value}};
    PENSEE_ASSIGN_OR_RETURN(expr.text, name());
    const bool ends = is_name("else") || is_name("or") || is_name("and");
    const bool has_argument =
        !ends && (token().kind == Kind::kName || token().kind == Kind::kString ||
                  token().kind == Kind::kInteger || is_operator("["));
    if (has_argument) {
      if (is_name("is")) return unknown("a chain of tests");
      PENSEE_ASSIGN_OR_RETURN(JinjaIndex argument, primary());
      PENSEE_ASSIGN_OR_RETURN(argument, postfix(argument));
      expr.operands.push_back(argument);
    }
    PENSEE_ASSIGN_OR_RETURN(const JinjaIndex result, call(std::move(expr)));
    if (!negated) return result;
    return add({.kind = Expr::Kind::kNot, .operands = {result}});
  }

  std::vector<JinjaToken> tokens_;
  const std::string& file_;
  size_t at_ = 0;
  int nesting_ = 0;
  JinjaProgram program_;
};

}  // namespace pensee
