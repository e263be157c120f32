#include "guest-images/linux/loader/grub_text.hpp"

#include <optional>
#include <utility>

#include "guest-images/linux/loader/grub_lexer.hpp"

namespace penumbra::loader {
namespace {

using Token = GrubLexer::Token;

/// Recursive descent; the first error ends it.
class Parser {
public:
    explicit Parser(std::string_view text) : lexer_(text) { advance(); }

    std::expected<Block, std::string> script() {
        Block block = statements();
        if (!error_ && token_ != Token::end) wrong("nothing is open that this could close");
        if (error_) return std::unexpected(*error_);
        return block;
    }

private:
    void advance() { token_ = lexer_.next(); }
    [[nodiscard]] bool at(std::string_view reserved) const {
        return token_ == Token::word && lexer_.word().bare() == reserved;
    }
    [[nodiscard]] bool at_block_end() const {
        return token_ == Token::end || token_ == Token::close || at("fi") || at("else") || at("elif") || at("then") ||
               at("do") || at("done");
    }
    void wrong(const std::string& what) {
        if (!error_) error_ = "line " + std::to_string(lexer_.line()) + ": " + what;
    }
    void expect(std::string_view reserved) {
        if (!at(reserved)) return wrong("`" + std::string(reserved) + "` expected");
        advance();
    }
    void skip_separators() {
        while (token_ == Token::separator) advance();
    }

    Block statements() {
        Block block;
        if (++depth_ > grub_nesting_limit) wrong("nested too deep");
        skip_separators();
        while (!error_ && !at_block_end()) {
            block.push_back(statement());
            skip_separators();
        }
        --depth_;
        return block;
    }

    Block braces() {
        if (token_ != Token::open) return wrong("`{` expected"), Block{};
        advance();
        Block block = statements();
        if (token_ != Token::close) return wrong("`}` expected"), block;
        advance();
        return block;
    }

    Statement statement() {
        if (at("if")) return condition();
        if (at("while")) return repeat(Statement::Kind::repeat_while);
        if (at("until")) return repeat(Statement::Kind::repeat_until);
        if (at("for")) return repeat_for();
        if (at("function")) return function();
        return command();
    }

    Statement condition() {
        Statement made{Statement::Kind::condition, {}, {}};
        do {
            advance();
            made.blocks.push_back(statements());
            expect("then");
            made.blocks.push_back(statements());
        } while (!error_ && at("elif"));
        if (at("else")) {
            advance();
            made.blocks.push_back(statements());
        }
        expect("fi");
        return made;
    }

    Statement repeat(Statement::Kind kind) {
        Statement made{kind, {}, {}};
        advance();
        made.blocks.push_back(statements());
        expect("do");
        made.blocks.push_back(statements());
        expect("done");
        return made;
    }

    Statement repeat_for() {
        Statement made{Statement::Kind::repeat_for, {}, {}};
        advance();
        if (token_ != Token::word) return wrong("a name expected after `for`"), made;
        take_word(made);
        expect("in");
        while (token_ == Token::word) take_word(made);
        skip_separators();
        expect("do");
        made.blocks.push_back(statements());
        expect("done");
        return made;
    }

    Statement function() {
        Statement made{Statement::Kind::function, {}, {}};
        advance();
        if (token_ != Token::word) return wrong("a name expected after `function`"), made;
        take_word(made);
        skip_separators();
        made.blocks.push_back(braces());
        return made;
    }

    Statement command() {
        Statement made;
        if (token_ == Token::open) return wrong("`{` without a command"), made;
        while (token_ == Token::word) take_word(made);
        if (token_ == Token::open) made.blocks.push_back(braces());
        return made;
    }

    void take_word(Statement& statement) {
        statement.words.push_back(lexer_.word());
        advance();
    }

    GrubLexer lexer_;
    Token token_ = Token::end;
    int depth_ = 0;
    std::optional<std::string> error_;
};

}  // namespace

std::string_view Word::bare() const {
    if (parts.size() != 1) return {};
    const WordPart& only = parts.front();
    return only.kind == WordPart::Kind::literal && only.quoting == WordPart::Quoting::bare ? only.text
                                                                                           : std::string_view{};
}

std::expected<Block, std::string> parse_grub_script(std::string_view text) { return Parser(text).script(); }

}  // namespace penumbra::loader
