#include "guest-images/linux/loader/grub_lexer.hpp"

namespace penumbra::loader {
namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool ends_word(char c) { return blank(c) || c == '\n' || c == ';'; }
bool name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

}  // namespace

bool GrubLexer::at_line_join() const { return text_[at_] == '\\' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n'; }

void GrubLexer::skip_blanks() {
    while (more()) {
        if (blank(text_[at_])) {
            ++at_;
        } else if (at_line_join()) {
            at_ += 2;
            ++line_;
        } else if (text_[at_] == '#') {
            while (more() && text_[at_] != '\n') ++at_;
        } else {
            return;
        }
    }
}

void GrubLexer::literal(char c, WordPart::Quoting quoting) {
    if (word_.parts.empty() || word_.parts.back().kind != WordPart::Kind::literal ||
        word_.parts.back().quoting != quoting) {
        word_.parts.push_back({WordPart::Kind::literal, quoting, {}});
    }
    word_.parts.back().text += c;
}

/// "" and '' make a word, though an empty one.
void GrubLexer::empty_quotes() { word_.parts.push_back({WordPart::Kind::literal, WordPart::Quoting::quoted, {}}); }

void GrubLexer::read_single_quoted() {
    empty_quotes();
    for (++at_; more() && text_[at_] != '\''; ++at_) {
        if (text_[at_] == '\n') ++line_;
        literal(text_[at_], WordPart::Quoting::quoted);
    }
    if (more()) ++at_;
}

void GrubLexer::read_double_quoted() {
    constexpr auto quoted = WordPart::Quoting::quoted;
    empty_quotes();
    ++at_;
    while (more() && text_[at_] != '"') {
        const char c = text_[at_];
        if (c == '$') {
            read_variable(quoted);
            continue;
        }
        if (c == '\\' && at_ + 1 < text_.size() && std::string_view("$\"\\\n").contains(text_[at_ + 1])) ++at_;
        if (text_[at_] == '\n') ++line_;
        literal(text_[at_], quoted);
        ++at_;
    }
    if (more()) ++at_;
}

void GrubLexer::read_variable(WordPart::Quoting quoting) {
    const std::size_t start = at_++;
    std::string_view name;
    if (more() && text_[at_] == '{') {
        const std::size_t close = text_.find('}', at_);
        if (close != std::string_view::npos) name = text_.substr(at_ + 1, close - at_ - 1);
        if (!name.empty() && !name.contains('\n')) at_ = close + 1;
    } else if (more() && (text_[at_] == '?' || text_[at_] == '@' || text_[at_] == '*' || text_[at_] == '#')) {
        name = text_.substr(at_++, 1);
    } else {
        const std::size_t first = at_;
        while (more() && name_character(text_[at_])) ++at_;
        name = text_.substr(first, at_ - first);
    }
    if (name.empty() || name.contains('\n')) {  // a lone sign stands for itself
        at_ = start + 1;
        literal('$', quoting);
        return;
    }
    word_.parts.push_back({WordPart::Kind::variable, quoting, std::string(name)});
}

void GrubLexer::read_word() {
    while (more() && !ends_word(text_[at_])) {
        const char c = text_[at_];
        if (c == '\'') {
            read_single_quoted();
        } else if (c == '"') {
            read_double_quoted();
        } else if (c == '$') {
            read_variable(WordPart::Quoting::bare);
        } else if (c == '\\' && at_ + 1 < text_.size()) {
            if (at_line_join()) {
                ++line_;
            } else {
                literal(text_[at_ + 1], WordPart::Quoting::quoted);
            }
            at_ += 2;
        } else {
            literal(c, WordPart::Quoting::bare);
            ++at_;
        }
    }
}

GrubLexer::Token GrubLexer::next() {
    skip_blanks();
    word_.parts.clear();
    if (!more()) return Token::end;
    if (text_[at_] == '\n' || text_[at_] == ';') {
        if (text_[at_++] == '\n') ++line_;
        return Token::separator;
    }
    read_word();
    if (word_.bare() == "{") return Token::open;
    if (word_.bare() == "}") return Token::close;
    return Token::word;
}

}  // namespace penumbra::loader
