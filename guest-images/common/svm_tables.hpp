// Builds the processes' page tables, and stores into them by the record of svm_process.hpp.
#pragma once

#include <cstdint>

#include "guest-images/common/rng.hpp"
#include "guest-images/common/svm_shared.hpp"

namespace penumbra::guest {

/// All but check() belong to the vCPU that changes tables.
template <class Platform>
class SvmTables {
public:
    SvmTables(SvmShared<Platform>& shared, std::uint64_t seed)
        : shared_(shared), world_(shared.world()), random_(seed) {}

    /// Once, before anybody else looks.
    void build() {
        std::uint64_t next_table = shared_.layout().tables();
        std::uint32_t next_page = 0;
        for (std::uint32_t p = 0; p < svm_processes; ++p) build(p, next_table, next_page);
        while (world_.spares < svm_spare_pages) {
            write_data(next_page);
            world_.spare[world_.spares++] = next_page++;
        }
    }

    /// Gives a data page new contents.
    void write_data(std::uint32_t page) {
        SvmData& data = world_.data[page];
        ++data.version;
        data.raw = write_svm_page(shared_.platform().ram(shared_.layout().data(page)), tag_of(page));
    }
    [[nodiscard]] std::uint64_t tag_of(std::uint32_t page) {
        return SvmTag{SvmKind::data, page, world_.data[page].version}.word();
    }

    /// What the record says that a leaf entry holds, but for its flags.
    [[nodiscard]] std::uint64_t leaf_value(const SvmSlot& slot) const {
        return shared_.layout().data(slot.page) | slot.rights;
    }
    /// The same of the entry at a level above, on the way in use.
    [[nodiscard]] std::uint64_t link_value(const SvmPlace& at) {
        const SvmChain& chain = svm_chain(world_.processes, at);
        return chain.table[at.level - 1][chain.used[at.level - 1]] | chain.rights[at.level];
    }
    [[nodiscard]] std::uint64_t value(const SvmPlace& at) {
        if (at.level != 1) return link_value(at);
        return leaf_value(svm_chain(world_.processes, at).slot(at.page));
    }
    /// Where the leaf entry of a page lies in one of its two tables.
    [[nodiscard]] std::uint64_t leaf_entry(const SvmPlace& at, std::uint32_t which) {
        return svm_chain(world_.processes, at).table[1][which] + svm_index(1, at.address()) * sizeof(std::uint64_t);
    }

    /// Stores an entry, with flags of use or without.
    void store(std::uint64_t entry, std::uint64_t value) {
        shared_.platform().store_entry(entry, random_.below(4) == 0 ? value : value | flags);
    }
    /// Whether memory holds what was stored last.
    void check(std::uint64_t entry, std::uint64_t expected) {
        const std::uint64_t found = *reinterpret_cast<const volatile std::uint64_t*>(shared_.platform().ram(entry));
        if ((found & ~flags) != expected) shared_.complain_of("table entry", entry, found, expected);
    }

    /// Puts down what virtual pages are now, where that is something else than before.
    void note(std::uint32_t process, std::uint32_t first, std::uint32_t pages, std::uint64_t first_new) {
        SvmProcess& of = world_.processes[process];
        for (std::uint32_t page = first; page < first + pages; ++page) {
            const SvmSlot& slot = svm_chain(of, process, of.active, svm_half(page)).slot(page);
            const SvmVersion now{first_new, svm_never, svm_rights(world_.processes, process, of.active, page),
                                 world_.data[slot.page].raw, first_new};
            const SvmVersion& before = of.log[page].newest();
            if (before.rights != now.rights || before.raw != now.raw) of.log[page].append(now);
        }
    }

    /// Makes the root that the record calls active the process's.
    void store_root(std::uint32_t process) {
        shared_.platform().store_entry(pasid_entry(process), root_value(process, world_.processes[process].active));
    }
    void check_root(std::uint32_t process, std::uint32_t root) {
        check(pasid_entry(process), root_value(process, root) & ~flags);
    }

private:
    static constexpr std::uint64_t flags = 0x60;  // accessed, dirty: the device sets them as well

    [[nodiscard]] std::uint64_t pasid_entry(std::uint32_t process) const {
        return shared_.layout().pasid_table() + svm_forms[process].pasid * sizeof(abi::PasidEntry);
    }
    [[nodiscard]] std::uint64_t root_value(std::uint32_t process, std::uint32_t root) const {
        using Flag = abi::PasidFlag;
        const SvmForm& form = svm_forms[process];
        std::uint64_t value = world_.processes[process].trunk[root][form.levels] | bit(Flag::present);
        if (form.levels == 5) value |= bit(Flag::five_levels);
        if (shared_.mode() != abi::SvmMode::watch) value |= bit(Flag::announces);
        if (shared_.mode() == abi::SvmMode::cooperative) value |= bit(Flag::cooperative);
        if (shared_.mode() == abi::SvmMode::unsync) value |= bit(Flag::unsync_leaves);
        return value;
    }

    static constexpr std::uint64_t bit(abi::PasidFlag flag) { return static_cast<std::uint64_t>(flag); }

    void build(std::uint32_t number, std::uint64_t& next_table, std::uint32_t& next_page) {
        const SvmForm& form = svm_forms[number];
        SvmProcess& process = world_.processes[number];
        const auto take = [&] {
            const std::uint64_t table = next_table;
            next_table += page_bytes;
            return table;
        };
        for (std::uint32_t root = 0; root < svm_roots; ++root) {
            for (std::uint32_t level = form.border_level; level <= form.levels; ++level) {
                process.trunk[root][level] = take();
                if (level == form.border_level) continue;
                const std::uint64_t index = svm_index(level, svm_address(form, 0));
                store(process.trunk[root][level] + index * 8, process.trunk[root][level - 1] | svm_all_rights);
            }
            for (std::uint32_t half = 0; half < 2; ++half) {
                const SvmPlace at{number, root, half * svm_half_pages, form.border_level};
                if (root == 0 || !svm_shared(number, half)) build(at, take, next_page);
                store(svm_entry(world_.processes, at), link_value(at));
            }
        }
        for (std::uint32_t page = 0; page < svm_pages; ++page) {
            const SvmSlot& slot = process.chains[0][svm_half(page)].slot(page);
            process.log[page].append({0, 0, svm_all_rights, world_.data[slot.page].raw, 0});
        }
        store_root(number);
    }
    /// Both sets of tables of a half.
    template <class Take>
    void build(const SvmPlace& half, Take&& take, std::uint32_t& next_page) {
        SvmChain& chain = svm_chain(world_.processes, half);
        chain.rights[half.level] = svm_all_rights;
        for (std::uint32_t which = 0; which < 2; ++which) {
            chain.table[1][which] = take();
            for (std::uint32_t page = 0; page < svm_half_pages; ++page) build(half, which, page, next_page);
            if (half.half() == 1) build_landings(chain.table[1][which]);
            for (std::uint32_t level = 2; level < half.level; ++level) {
                chain.table[level][which] = take();
                chain.rights[level] = svm_all_rights;
                store(chain.table[level][which] + svm_index(level, half.address()) * 8,
                      chain.table[level - 1][which] | svm_all_rights);
            }
        }
    }
    void build(const SvmPlace& half, std::uint32_t which, std::uint32_t page, std::uint32_t& next_page) {
        SvmSlot& slot = svm_chain(world_.processes, half).slots[which][page];
        const bool in_use = half.root == 0 && which == 0;
        slot = {next_page++, svm_all_rights, in_use ? 0 : svm_never, in_use ? 0 : svm_never, 0};
        write_data(slot.page);
        store(leaf_entry({half.process, half.root, half.page + page, 1}, which), leaf_value(slot));
    }
    void build_landings(std::uint64_t leaf) {
        constexpr std::uint64_t pages = svm_landings * svm_landing_pages;
        for (std::uint64_t i = 0; i < svm_landing_rounds * pages; ++i) {
            store(leaf + (svm_leaf_landing + i) * 8,
                  (shared_.layout().landing(0) + i % pages * page_bytes) | svm_all_rights);
        }
    }

    SvmShared<Platform>& shared_;
    SvmWorld& world_;
    Random random_;
};

}  // namespace penumbra::guest
