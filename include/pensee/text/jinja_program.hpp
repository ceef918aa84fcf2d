// JinjaProgram: a Jinja template as statements and expressions, ready to be run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pensee {

// Expressions and statements lie in two arrays and name each other by index, so that no template,
// however deep, is freed recursively.
using JinjaIndex = int32_t;
inline constexpr JinjaIndex kNoIndex = -1;

struct JinjaExpr {
  enum class Kind {
    kText,       // text
    kInteger,    // number
    kBool,       // number
    kNone,       //
    kName,       // text
    kList,       // operands
    kDict,       // never evaluated
    kAttribute,  // operands[0].text
    kItem,       // operands[0][operands[1]]
    kSlice,      // operands[0][operands[1]:operands[2]:operands[3]], any of these kNoIndex
    kCall,       // operands[0](the other operands), the last ones with the names `keywords`
    kFilter,     // operands[0] | text(the other operands), likewise
    kTest,       // operands[0] is text(the other operands)
    kNot,        // not operands[0]
    kNegative,   // -operands[0]
    kAnd,        // operands[0] and operands[1]
    kOr,         // operands[0] or operands[1]
    kBinary,     // operands[0] text operands[1]
    kChoice,     // operands[1] if operands[0] else operands[2], which may be kNoIndex
  };
  Kind kind = Kind::kNone;
  std::string text = {};
  int64_t number = 0;
  std::vector<JinjaIndex> operands = {};
  std::vector<std::string> keywords = {};
  int depth = 1;  // of the tree below, this one included
};

struct JinjaStatement {
  enum class Kind { kText, kPrint, kIf, kFor, kSet, kSetBlock, kMacro };
  struct Branch {
    JinjaIndex condition = kNoIndex;  // none of an else
    std::vector<JinjaIndex> body = {};
  };
  Kind kind = Kind::kText;
  std::string text =
      {};  // of kText; the name that kFor, kSet, kSetBlock and kMacro give a value to
  std::string attribute = {};  // of kSet, if it sets a namespace's
  // Of kFor: several names, which text is not. Of kMacro: its parameters.
  std::vector<std::string> targets = {};
  std::vector<JinjaIndex> defaults = {};  // of kMacro: those of the last parameters
  JinjaIndex value = kNoIndex;            // printed, set, or run through
  JinjaIndex condition = kNoIndex;        // of kFor: which values are taken
  // Of kIf; of kFor: the body, and perhaps the else; of kSetBlock and kMacro: the body.
  std::vector<Branch> branches = {};
};

struct JinjaProgram {
  std::vector<JinjaExpr> expressions;
  std::vector<JinjaStatement> statements;
  std::vector<JinjaIndex> body;
  size_t bytes = 0;  // of the template
};

}  // namespace pensee
