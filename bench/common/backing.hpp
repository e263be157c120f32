// Kinds of memory that a latency benchmark touches. All hold the same payload pages, under the same page numbers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bench/common/bare_variants.hpp"
#include "bench/common/payload_pages.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::bench {

class Backing {
public:
    Backing(std::string name, std::string settings, Hvp first, Gpa guest)
        : name_(std::move(name)), settings_(std::move(settings)), first_(first), guest_(guest) {}
    virtual ~Backing() = default;
    Backing(const Backing&) = delete;
    Backing& operator=(const Backing&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const std::string& settings() const { return settings_; }
    [[nodiscard]] Hvp host(std::uint32_t page) const { return first_ + page; }
    [[nodiscard]] Gpa guest(std::uint32_t page) const { return guest_ + page * page_bytes; }

    /// Brings these pages (ascending) into the state whose touch is measured.
    [[nodiscard]] virtual Result<> prepare(std::span<const std::uint32_t> pages) = 0;
    /// Right before each touch.
    virtual void arm() {}

private:
    std::string name_;
    std::string settings_;
    Hvp first_;
    Gpa guest_;
};

/// Ordinary memory: the kernel answers the fault with a zero page.
class PlainBacking final : public Backing {
public:
    PlainBacking(MappedRegion region, Gpa guest)
        : Backing("first_touch", "plain anonymous memory: the kernel's zero page", region.pages().first(), guest),
          region_(std::move(region)) {}
    [[nodiscard]] Result<> prepare(std::span<const std::uint32_t> pages) override;

private:
    MappedRegion region_;
};

class BareBacking final : public Backing {
public:
    BareBacking(std::unique_ptr<BareLoop> loop, Gpa guest)
        : Backing(loop->options().name, settings_of(loop->options()), loop->pages().first(), guest),
          loop_(std::move(loop)) {}
    [[nodiscard]] Result<> prepare(std::span<const std::uint32_t> pages) override;
    void arm() override { loop_->arm(); }

private:
    std::unique_ptr<BareLoop> loop_;
};

/// Pages of a MemorySystem. `first` is page 0 of the payload, already written there. Where both are used, prepare the
/// packed one first: packing takes the oldest pages of limbo.
class PenumbraBacking final : public Backing {
public:
    enum class Depth : std::uint8_t { limbo, packed };
    PenumbraBacking(std::string name, vmm::MemorySystem& memory, Gpa first, Depth depth);
    [[nodiscard]] Result<> prepare(std::span<const std::uint32_t> pages) override;

private:
    [[nodiscard]] Result<> empty_limbo();
    vmm::MemorySystem& memory_;
    const Depth depth_;
};

/// What unpacking alone costs: blobs of the payload, decompressed page by page.
class DecompressionProbe {
public:
    static constexpr std::size_t largest_blob = 3072;

    /// Whether a page compresses to a blob that a compressed tier would keep.
    [[nodiscard]] static bool compresses(PageView page);
    explicit DecompressionProbe(const PayloadPages& payload);
    /// Ticks that each of these pages takes; appended to `ticks`.
    void measure(std::span<const std::uint32_t> pages, std::vector<std::uint64_t>& ticks) const;

private:
    struct Blob {
        std::size_t at;
        int bytes;
    };
    std::vector<char> store_;
    std::vector<Blob> blobs_;
};

}  // namespace penumbra::bench
