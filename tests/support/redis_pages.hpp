// Pages that tests give to a remote tier and want back.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/library_pages.hpp"
#include "vmm/memory/tier/remote/remote_reader.hpp"
#include "vmm/memory/tier/remote/remote_tier.hpp"

namespace penumbra::test {

inline constexpr std::uint64_t test_vm = 7;

/// Patience for tests that wait for the end of it; a busy machine with sanitizers takes a while to answer, too.
[[nodiscard]] inline vmm::RemoteTierOptions remote_options(std::string url) {
    vmm::RemoteTierOptions options;
    options.url = std::move(url);
    options.capacity_bytes = 64ULL << 20;
    return options;
}

[[nodiscard]] inline std::unique_ptr<vmm::RemoteTier> open_remote(const vmm::RemoteTierOptions& options) {
    auto tier = vmm::RemoteTier::create(options);
    PENUMBRA_ASSERT(tier.has_value(), tier.error().message());
    return std::move(*tier);
}

[[nodiscard]] inline std::unique_ptr<vmm::RemoteReader> open_reader(vmm::RemoteTier& tier) {
    auto reader = tier.make_reader();
    PENUMBRA_ASSERT(reader.has_value(), reader.error().message());
    return std::move(*reader);
}

[[nodiscard]] inline std::vector<Page> noise_pages(std::size_t count, std::uint64_t seed = 1) {
    std::vector<Page> pages;
    for (std::size_t i = 0; i < count; ++i) pages.push_back(noise_page(seed * 100'000 + i));
    return pages;
}

[[nodiscard]] inline std::vector<vmm::RemoteItem> items_of(const std::vector<Page>& pages, std::uint64_t version = 1) {
    std::vector<vmm::RemoteItem> items;
    for (std::size_t i = 0; i < pages.size(); ++i) {
        items.push_back(vmm::RemoteItem::of_page({test_vm, i, version}, pages[i]));
    }
    return items;
}

std::vector<vmm::RemoteItem> items_of(std::vector<Page>&&, std::uint64_t = 1) = delete;  // items point into the pages

struct Written {
    vmm::StoreResult<> result;
    std::vector<vmm::StoreOutcome> outcomes;

    [[nodiscard]] std::vector<vmm::StoreHandle> handles() const {
        std::vector<vmm::StoreHandle> handles;
        for (const auto& outcome : outcomes) handles.push_back(outcome.handle);
        return handles;
    }
    [[nodiscard]] std::string message() const { return result ? "stored" : result.error().error.message(); }
};

[[nodiscard]] inline Written write_pages(vmm::RemoteTier& tier, const std::vector<vmm::RemoteItem>& items) {
    Written written{{}, std::vector<vmm::StoreOutcome>(items.size())};
    written.result = tier.write_batch(items, written.outcomes);
    return written;
}

struct Read {
    vmm::StoreResult<> result;
    std::vector<vmm::StoreOutcome> outcomes;
    std::vector<Page> pages;

    [[nodiscard]] std::string message() const { return result ? "read" : result.error().error.message(); }
    /// Whether each page either came as it was or is said not to have come.
    [[nodiscard]] bool nothing_wrong(const std::vector<Page>& wanted) const {
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            if (outcomes[i].stored() && pages[i] != wanted[i]) return false;
        }
        return true;
    }
    [[nodiscard]] std::size_t count(vmm::StoreFailure failure) const {
        return static_cast<std::size_t>(
            std::ranges::count_if(outcomes, [&](const auto& outcome) { return outcome.failure == failure; }));
    }
};

/// Page i of VM test_vm from handle i.
[[nodiscard]] inline Read read_pages(vmm::RemoteReader& reader, const std::vector<vmm::StoreHandle>& handles) {
    Read read{{}, std::vector<vmm::StoreOutcome>(handles.size()), std::vector<Page>(handles.size())};
    std::vector<vmm::ReadItem> items;
    for (std::size_t i = 0; i < handles.size(); ++i) items.push_back({handles[i], {test_vm, i}, read.pages[i].data()});
    read.result = reader.read_batch(items, read.outcomes);
    return read;
}

}  // namespace penumbra::test
