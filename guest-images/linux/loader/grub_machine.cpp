#include "guest-images/linux/loader/grub_machine.hpp"

#include <utility>

namespace penumbra::loader {

GrubMachine::GrubMachine(const BootFiles& files, std::size_t file_system, std::string_view prefix) : files_(files) {
    const std::string device = files.file_systems()[file_system].grub_name;
    assign("root", device);
    assign("prefix", "(" + device + ")" + std::string(prefix));
    assign("grub_cpu", "x86_64");
    assign("grub_platform", "pc");
    for (const char* feature : {"feature_menuentry_id", "feature_platform_search_hint", "feature_default_font_path",
                                "feature_timeout_style", "feature_all_video_module"}) {
        assign(feature, "y");
    }
}

std::expected<void, std::string> GrubMachine::run_file(const FileReference& file) {
    const auto text = read(file);
    if (!text) return std::unexpected(file.path + ": not a readable file of at most 1 MiB");
    auto ran = run_text(*text);
    if (!ran) ran = std::unexpected(file.path + ": " + ran.error());
    return ran;
}

std::expected<void, std::string> GrubMachine::run_text(std::string_view text) {
    const auto block = keep(text);
    if (!block) return std::unexpected(block.error());
    call(**block);
    if (!error_.empty()) return std::unexpected(error_);
    return {};
}

std::expected<const Block*, std::string> GrubMachine::keep(std::string_view text) {
    auto block = parse_grub_script(text);
    if (!block) return std::unexpected(block.error());
    scripts_.push_back(std::make_unique<const Block>(std::move(*block)));
    return scripts_.back().get();
}

bool GrubMachine::charge(std::size_t bytes) {
    charged_ += bytes;
    if (charged_ > byte_limit) give_up("reads or makes more than 8 MiB of text");
    return charged_ <= byte_limit;
}

std::optional<std::string> GrubMachine::read(const FileReference& file) {
    auto text = files_.read(file, file_limit);
    if (text && !charge(text->size())) text.reset();
    return text;
}

std::string GrubMachine::variable(std::string_view name) const {
    const auto at = variables_.find(name);
    return at == variables_.end() ? std::string{} : at->second;
}

void GrubMachine::assign(std::string_view name, std::string_view value) {
    variables_.insert_or_assign(std::string(name.substr(0, 256)), std::string(value.substr(0, value_limit)));
    if (variables_.size() > variable_limit) give_up("has more than 256 variables");
}

void GrubMachine::give_up(std::string why) {
    if (error_.empty()) error_ = std::move(why);
}

std::expected<BootEntry, std::string> GrubMachine::boot(const MenuItem& entry) {
    const auto before = variables_;
    kernel_.reset();
    initrds_.clear();
    command_line_.clear();
    error_.clear();
    // An entry that shows a menu of its own adds nothing to the one that it is in, where it has to stay in place.
    std::vector<MenuItem> own;
    std::vector<MenuItem>* const outer = std::exchange(lines_, &own);
    if (entry.body != nullptr) call(*entry.body);
    lines_ = outer;
    variables_ = before;
    if (!error_.empty()) return std::unexpected(std::exchange(error_, {}));
    if (!kernel_) return std::unexpected("\"" + entry.title + "\" names no Linux kernel on these disks");
    return BootEntry{entry.title, *kernel_, initrds_, command_line_};
}

/// A block of its own: `return` ends it and nothing else.
bool GrubMachine::call(const Block& block) {
    if (calls_ >= call_limit) return give_up("calls itself without end"), false;
    ++calls_;
    const bool status = run_block(block);
    --calls_;
    leaving_ = false;
    return status;
}

bool GrubMachine::run_block(const Block& block) {
    bool status = true;
    for (const Statement& statement : block) {
        if (stopped()) break;
        status = run_statement(statement);
    }
    return status;
}

bool GrubMachine::run_statement(const Statement& statement) {
    if (++statements_ > statement_limit) return give_up("does not end within 20000 commands"), false;
    switch (statement.kind) {
        case Statement::Kind::command:
            return run_command(statement);
        case Statement::Kind::condition:
            return run_condition(statement);
        case Statement::Kind::repeat_while:
        case Statement::Kind::repeat_until:
            return run_loop(statement);
        case Statement::Kind::repeat_for:
            return run_for(statement);
        case Statement::Kind::function:
            break;
    }
    const Arguments name = expand(statement.words);
    if (!name.empty()) functions_.insert_or_assign(name.front(), &statement.blocks.front());
    return true;
}

bool GrubMachine::run_condition(const Statement& statement) {
    std::size_t i = 0;
    for (; i + 1 < statement.blocks.size(); i += 2) {
        const bool holds = run_block(statement.blocks[i]);
        if (stopped()) return false;
        if (holds) return run_block(statement.blocks[i + 1]);
    }
    return i < statement.blocks.size() ? run_block(statement.blocks[i]) : true;
}

bool GrubMachine::run_loop(const Statement& statement) {
    const bool wanted = statement.kind == Statement::Kind::repeat_while;
    while (!stopped()) {
        if (++statements_ > statement_limit) return give_up("does not end within 20000 commands"), false;
        if (run_block(statement.blocks[0]) != wanted || stopped()) break;
        run_block(statement.blocks[1]);
    }
    return true;
}

bool GrubMachine::run_for(const Statement& statement) {
    const Arguments words = expand(statement.words);
    for (std::size_t i = 1; i < words.size() && !stopped(); ++i) {
        assign(words[0], words[i]);
        run_block(statement.blocks.front());
    }
    return true;
}

bool GrubMachine::run_command(const Statement& statement) {
    Arguments words = expand(statement.words);
    if (words.empty() || stopped()) return true;
    std::size_t nots = 0;
    while (nots < words.size() && words[nots] == "!") ++nots;
    words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(nots));
    const bool status = !words.empty() && run_simple(words, statement);
    return status != (nots % 2 == 1);
}

bool GrubMachine::run_simple(Arguments& words, const Statement& statement) {
    const std::string name = words.front();
    if (!statement.blocks.empty()) return add_menu_line(words, statement.blocks.front());
    const std::size_t equals = name.find('=');
    if (words.size() == 1 && equals != std::string::npos && equals > 0) {
        assign(std::string_view(name).substr(0, equals), std::string_view(name).substr(equals + 1));
        return true;
    }
    words.erase(words.begin());
    if (const auto function = functions_.find(name); function != functions_.end()) return call(*function->second);
    if (const Handler command = handler(name); command != nullptr) return (this->*command)(words);
    return true;
}

GrubMachine::Arguments GrubMachine::expand(const std::vector<Word>& words) {
    Arguments out;
    for (const Word& word : words) expand(word, out);
    return out;
}

/// An unquoted variable falls apart at its blanks; quoted text keeps together, and makes a word even when empty.
void GrubMachine::expand(const Word& word, Arguments& out) {
    std::string text;
    bool present = false;
    for (const WordPart& part : word.parts) {
        const bool quoted = part.quoting == WordPart::Quoting::quoted;
        const std::string value = part.kind == WordPart::Kind::variable ? variable(part.text) : part.text;
        if (!charge(value.size() + 1)) return;
        present |= quoted || !value.empty();
        for (const char c : value) {
            if (part.kind == WordPart::Kind::variable && !quoted && (c == ' ' || c == '\t' || c == '\n')) {
                if (!text.empty()) out.push_back(std::exchange(text, {}));
            } else if (text.size() < value_limit) {
                text += c;
            }
        }
    }
    if (!text.empty() ||
        (present && word.parts.size() > 0 && word.parts.front().quoting == WordPart::Quoting::quoted)) {
        out.push_back(std::move(text));
    }
}

}  // namespace penumbra::loader
