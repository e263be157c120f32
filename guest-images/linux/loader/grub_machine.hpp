// Runs GRUB's script as far as choosing a Linux kernel needs it: variables, conditions, loops, functions, searching
// file systems, menus, boot loader specification entries. Commands without a bearing on that succeed and do nothing.
// Nothing is ever written. Work is bounded: a script that goes on for ever ends with an error.
#pragma once

#include <cstddef>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest-images/linux/loader/boot_configuration.hpp"
#include "guest-images/linux/loader/boot_files.hpp"
#include "guest-images/linux/loader/grub_text.hpp"

namespace penumbra::loader {

/// A menu's line: an entry with its commands, or a submenu with more lines.
struct MenuItem {
    std::string title;
    std::string id;
    const Block* body = nullptr;  ///< an entry's; the machine owns it
    std::vector<MenuItem> children;
};

class GrubMachine {
public:
    /// Starts as GRUB does: $root is the file system, $prefix the folder of its configuration.
    GrubMachine(const BootFiles& files, std::size_t file_system, std::string_view prefix);
    GrubMachine(const GrubMachine&) = delete;
    GrubMachine& operator=(const GrubMachine&) = delete;
    ~GrubMachine() = default;

    /// Runs a script and adds its lines to the menu. The error is one line.
    [[nodiscard]] std::expected<void, std::string> run_file(const FileReference& file);
    [[nodiscard]] std::expected<void, std::string> run_text(std::string_view text);

    [[nodiscard]] const std::vector<MenuItem>& menu() const { return menu_; }
    [[nodiscard]] std::string variable(std::string_view name) const;
    /// Runs an entry's commands; the variables are afterwards what they were.
    [[nodiscard]] std::expected<BootEntry, std::string> boot(const MenuItem& entry);

    static constexpr std::size_t file_limit = 1U << 20U;
    static constexpr std::size_t statement_limit = 20'000;
    static constexpr std::size_t byte_limit = 8U << 20U;   ///< read from files and made by expanding words, together
    static constexpr std::size_t value_limit = 4U << 10U;  ///< bytes of one variable or word; kernels take 2 KiB
    static constexpr std::size_t variable_limit = 256;
    static constexpr std::size_t menu_limit = 1'000;
    static constexpr int call_limit = 16;

private:
    using Arguments = std::vector<std::string>;
    using Handler = bool (GrubMachine::*)(const Arguments&);

    // grub_machine.cpp: statements
    bool run_block(const Block& block);
    bool run_statement(const Statement& statement);
    bool run_condition(const Statement& statement);
    bool run_loop(const Statement& statement);
    bool run_for(const Statement& statement);
    bool run_command(const Statement& statement);
    bool run_simple(Arguments& words, const Statement& statement);
    bool call(const Block& block);
    bool stopped() const { return !error_.empty() || leaving_; }
    void give_up(std::string why);
    Arguments expand(const std::vector<Word>& words);
    void expand(const Word& word, Arguments& out);
    void assign(std::string_view name, std::string_view value);
    bool charge(std::size_t bytes);
    [[nodiscard]] std::optional<std::string> read(const FileReference& file);
    [[nodiscard]] std::expected<const Block*, std::string> keep(std::string_view text);

    // grub_commands.cpp: commands
    static Handler handler(std::string_view name);
    bool add_menu_line(const Arguments& words, const Block& body);
    bool set(const Arguments& words);
    bool unset(const Arguments& words);
    bool test(const Arguments& words);
    bool no(const Arguments& words);
    bool leave(const Arguments& words);
    bool linux_kernel(const Arguments& words);
    bool initrd(const Arguments& words);
    bool source(const Arguments& words);
    bool load_environment(const Arguments& words);
    bool boot_loader_entries(const Arguments& words);
    // grub_search.cpp: finding file systems
    bool search(const Arguments& words);
    bool search_by_uuid(const Arguments& words);
    bool search_by_label(const Arguments& words);
    bool search_by_file(const Arguments& words);
    bool found(std::string_view kind, const std::string& wanted, std::string_view name);
    [[nodiscard]] std::optional<FileReference> locate(std::string_view path) const;

    const BootFiles& files_;
    std::map<std::string, std::string, std::less<>> variables_;
    std::map<std::string, const Block*, std::less<>> functions_;
    std::vector<std::unique_ptr<const Block>> scripts_;
    std::vector<MenuItem> menu_;
    std::vector<MenuItem>* lines_ = &menu_;
    std::size_t line_count_ = 0;
    std::optional<FileReference> kernel_;
    std::vector<FileReference> initrds_;
    std::string command_line_;
    std::size_t statements_ = 0;
    std::size_t charged_ = 0;
    int calls_ = 0;
    bool leaving_ = false;  ///< `return` was met: the function, script or entry ends
    std::string error_;
};

}  // namespace penumbra::loader
