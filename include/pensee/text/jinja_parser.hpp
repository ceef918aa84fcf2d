// JinjaParser: the text of a Jinja template to a JinjaProgram.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/text/jinja_expressions.hpp"
#include "pensee/text/jinja_program.hpp"
#include "pensee/text/jinja_tokens.hpp"

namespace pensee {

// A parser for the part of Jinja that chat templates use.
class JinjaParser : private JinjaExprParser {
 public:
  // kCorruptFile for what is no Jinja, kUnsupported for what this parser leaves out: includes,
  // blocks, comparisons in chains, and the like. Messages of the first name `file`.
  static Result<JinjaProgram> parse(std::string_view text, const std::string& file) {
    PENSEE_ASSIGN_OR_RETURN(std::vector<JinjaToken> tokens, JinjaLexer::tokens(text, file));
    JinjaParser parser(std::move(tokens), file);
    parser.program_.bytes = text.size();
    PENSEE_ASSIGN_OR_RETURN(parser.program_.body, parser.body({}));
    return std::move(parser.program_);
  }

 private:
  using JinjaExprParser::JinjaExprParser;
  using Body = std::vector<JinjaIndex>;

  // Statements up to a tag whose name is one of `ends`, which stays; without any, up to the end.
  Result<Body> body(std::span<const std::string_view> ends) {
    Level level(nesting_);
    PENSEE_RETURN_IF_ERROR(check_nesting());
    Body body;
    for (;;) {
      JinjaStatement statement;
      const JinjaToken& first = token();
      if (first.kind == Kind::kEndOfFile) {
        if (ends.empty()) return body;
        return unexpected("{% " + std::string(ends.back()) + " %}");
      }
      if (first.kind == Kind::kText) {
        statement.text = first.text;
        ++at_;
      } else if (skip(Kind::kBegin, "{")) {
        statement.kind = JinjaStatement::Kind::kPrint;
        PENSEE_ASSIGN_OR_RETURN(statement.value, expression());
        PENSEE_RETURN_IF_ERROR(close_tag("{"));
      } else {
        const std::string& tag = token_after().text;
        if (std::find(ends.begin(), ends.end(), tag) != ends.end()) return body;
        ++at_;  // the {% of a tag
        PENSEE_ASSIGN_OR_RETURN(statement, tagged());
      }
      program_.statements.push_back(std::move(statement));
      body.push_back(static_cast<JinjaIndex>(program_.statements.size() - 1));
    }
  }

  Result<void> close_tag(std::string_view kind) {
    if (is_operator(",")) return unknown("several values without brackets");
    return skip(Kind::kEnd, kind) ? Result<void>() : Result<void>(unexpected("the tag's end"));
  }

  Result<JinjaStatement> tagged() {
    if (skip_name("if")) return if_tag();
    if (skip_name("for")) return for_tag();
    if (skip_name("set")) return set_tag();
    if (skip_name("macro")) return macro_tag();
    static constexpr auto kOthers = std::to_array<std::string_view>(
        {"call", "filter", "block", "extends", "include", "import", "from", "with", "raw",
         "autoescape", "do", "break", "continue", "generation", "trans"});
    if (std::find(kOthers.begin(), kOthers.end(), token().text) != kOthers.end()) {
      return unknown("the tag {% " + token().text + " %}");
    }
    return unexpected("the name of a tag");
  }

  Result<JinjaStatement> if_tag() {
    JinjaStatement statement;
    statement.kind = JinjaStatement::Kind::kIf;
    static constexpr auto kEnds = std::to_array<std::string_view>({"elif", "else", "endif"});
    do {
      JinjaStatement::Branch branch;
      PENSEE_ASSIGN_OR_RETURN(branch.condition, or_expression());  // without a choice: Jinja's rule
      PENSEE_RETURN_IF_ERROR(close_tag("%"));
      PENSEE_ASSIGN_OR_RETURN(branch.body, body(kEnds));
      statement.branches.push_back(std::move(branch));
      ++at_;  // the {% of the end
    } while (skip_name("elif"));
    if (skip_name("else")) PENSEE_RETURN_IF_ERROR(last_branch("endif", statement));
    PENSEE_RETURN_IF_ERROR(expect(Kind::kName, "endif"));
    PENSEE_RETURN_IF_ERROR(close_tag("%"));
    return statement;
  }

  // The rest of a tag, and what stands between it and the tag {% end %}, whose name stays.
  Result<void> last_branch(std::string_view end, JinjaStatement& statement) {
    PENSEE_RETURN_IF_ERROR(close_tag("%"));
    JinjaStatement::Branch branch;
    PENSEE_ASSIGN_OR_RETURN(branch.body, body(std::span(&end, 1)));
    statement.branches.push_back(std::move(branch));
    ++at_;  // the {% of the end
    return {};
  }

  Result<JinjaStatement> for_tag() {
    JinjaStatement statement;
    statement.kind = JinjaStatement::Kind::kFor;
    do {
      PENSEE_ASSIGN_OR_RETURN(std::string target, name());
      statement.targets.push_back(std::move(target));
    } while (skip_operator(","));
    if (statement.targets.size() == 1) {
      statement.text = std::move(statement.targets[0]);
      statement.targets.clear();
    }
    PENSEE_RETURN_IF_ERROR(expect(Kind::kName, "in"));
    PENSEE_ASSIGN_OR_RETURN(statement.value, or_expression());
    if (skip_name("if")) {
      PENSEE_ASSIGN_OR_RETURN(statement.condition, expression());
    }
    if (is_name("recursive")) return unknown("a recursive loop");
    PENSEE_RETURN_IF_ERROR(close_tag("%"));
    static constexpr auto kEnds = std::to_array<std::string_view>({"else", "endfor"});
    JinjaStatement::Branch branch;
    PENSEE_ASSIGN_OR_RETURN(branch.body, body(kEnds));
    statement.branches.push_back(std::move(branch));
    ++at_;  // the {% of the end
    if (skip_name("else")) PENSEE_RETURN_IF_ERROR(last_branch("endfor", statement));
    PENSEE_RETURN_IF_ERROR(expect(Kind::kName, "endfor"));
    PENSEE_RETURN_IF_ERROR(close_tag("%"));
    return statement;
  }

  Result<JinjaStatement> set_tag() {
    JinjaStatement statement;
    statement.kind = JinjaStatement::Kind::kSet;
    PENSEE_ASSIGN_OR_RETURN(statement.text, name());
    if (skip_operator(".")) {
      PENSEE_ASSIGN_OR_RETURN(statement.attribute, name());
    }
    const bool is_block = token().kind == Kind::kEnd;
    if (is_operator(",") || is_operator("|") || (is_block && !statement.attribute.empty())) {
      return unknown("a {% set %} of several values, with a filter, or of a part to a block");
    }
    if (is_block) {
      statement.kind = JinjaStatement::Kind::kSetBlock;
      PENSEE_RETURN_IF_ERROR(last_branch("endset", statement));
      PENSEE_RETURN_IF_ERROR(expect(Kind::kName, "endset"));
      PENSEE_RETURN_IF_ERROR(close_tag("%"));
      return statement;
    }
    PENSEE_RETURN_IF_ERROR(expect(Kind::kOperator, "="));
    PENSEE_ASSIGN_OR_RETURN(statement.value, expression());
    PENSEE_RETURN_IF_ERROR(close_tag("%"));
    return statement;
  }

  Result<JinjaStatement> macro_tag() {
    JinjaStatement statement;
    statement.kind = JinjaStatement::Kind::kMacro;
    PENSEE_ASSIGN_OR_RETURN(statement.text, name());
    PENSEE_RETURN_IF_ERROR(expect(Kind::kOperator, "("));
    while (!skip_operator(")")) {
      PENSEE_ASSIGN_OR_RETURN(std::string parameter, name());
      statement.targets.push_back(std::move(parameter));
      if (skip_operator("=")) {
        PENSEE_ASSIGN_OR_RETURN(const JinjaIndex value, expression());
        statement.defaults.push_back(value);
      } else if (!statement.defaults.empty()) {
        return unexpected("a parameter with a default");
      }
      if (skip_operator(")")) break;
      PENSEE_RETURN_IF_ERROR(expect(Kind::kOperator, ","));
    }
    PENSEE_RETURN_IF_ERROR(last_branch("endmacro", statement));
    PENSEE_RETURN_IF_ERROR(expect(Kind::kName, "endmacro"));
    PENSEE_RETURN_IF_ERROR(close_tag("%"));
    return statement;
  }
};

}  // namespace pensee
