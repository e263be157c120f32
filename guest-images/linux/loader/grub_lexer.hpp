// GRUB's script as words and line ends.
#pragma once

#include <cstddef>
#include <string_view>

#include "guest-images/linux/loader/grub_text.hpp"

namespace penumbra::loader {

class GrubLexer {
public:
    enum class Token { word, separator, open, close, end };

    explicit GrubLexer(std::string_view text) : text_(text) {}

    /// The next token; word() holds its word. Quotes left open end with the text.
    Token next();
    [[nodiscard]] const Word& word() const { return word_; }
    [[nodiscard]] std::size_t line() const { return line_; }

private:
    [[nodiscard]] bool more() const { return at_ < text_.size(); }
    [[nodiscard]] bool at_line_join() const;
    void skip_blanks();
    void read_word();
    void read_single_quoted();
    void read_double_quoted();
    void read_variable(WordPart::Quoting quoting);
    void literal(char c, WordPart::Quoting quoting);
    void empty_quotes();

    std::string_view text_;
    std::size_t at_ = 0;
    std::size_t line_ = 1;
    Word word_;
};

}  // namespace penumbra::loader
