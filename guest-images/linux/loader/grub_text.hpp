// GRUB's script as a tree. GRUB manual, chapter "Writing full configuration files directly": words, quoting, variables,
// and the reserved words if, while, until, for, function.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace penumbra::loader {

/// A piece of a word: literal text, or the name of a variable.
struct WordPart {
    enum class Kind { literal, variable };
    enum class Quoting { bare, quoted };
    Kind kind = Kind::literal;
    Quoting quoting = Quoting::bare;
    std::string text;
};

struct Word {
    std::vector<WordPart> parts;

    /// The text of a word that is one bare literal, which alone can be a reserved word; otherwise empty.
    [[nodiscard]] std::string_view bare() const;
};

struct Statement;
using Block = std::vector<Statement>;

struct Statement {
    /// command: words, and one block where it ends in { }. condition: blocks are test, body, test, body, ..., and a
    /// last body for else. repeat_while, repeat_until: test, body. repeat_for: words are the variable and its values.
    /// function: words[0] is its name.
    enum class Kind { command, condition, repeat_while, repeat_until, repeat_for, function };
    Kind kind = Kind::command;
    std::vector<Word> words;
    std::vector<Block> blocks;
};

/// At most this deep; a deeper script is refused.
inline constexpr int grub_nesting_limit = 32;

/// The error is one line with the number of the script's line.
[[nodiscard]] std::expected<Block, std::string> parse_grub_script(std::string_view text);

}  // namespace penumbra::loader
