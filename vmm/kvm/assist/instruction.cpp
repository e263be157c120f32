#include "vmm/kvm/assist/instruction.hpp"

#include <array>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

enum class Repeat : std::uint8_t { none, f2, f3 };

struct Prefixes {
    bool operand_size = false;
    bool address_size = false;
    bool lock = false;
    Repeat repeat = Repeat::none;
    MemoryOperand::Override segment = MemoryOperand::Override::none;
    std::uint8_t rex = 0;

    [[nodiscard]] bool wide() const { return (rex & 8) != 0; }
    [[nodiscard]] std::uint8_t register_bit() const { return (rex & 4) != 0 ? 8 : 0; }
    [[nodiscard]] std::uint8_t index_bit() const { return (rex & 2) != 0 ? 8 : 0; }
    [[nodiscard]] std::uint8_t base_bit() const { return (rex & 1) != 0 ? 8 : 0; }
};

/// Bytes in order. Past the end it reads 0 and remembers.
class Reader {
public:
    explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes.first(std::min<std::size_t>(bytes.size(), 15))) {}

    std::uint8_t next() {
        if (at_ >= bytes_.size()) {
            cut_short_ = true;
            return 0;
        }
        return std::to_integer<std::uint8_t>(bytes_[at_++]);
    }
    std::int64_t next_signed(unsigned count) {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < count; ++i) value |= std::uint64_t{next()} << (8 * i);
        const unsigned unused = 64 - 8 * count;
        return static_cast<std::int64_t>(value << unused) >> unused;
    }
    [[nodiscard]] bool cut_short() const { return cut_short_; }
    [[nodiscard]] std::uint8_t taken() const { return static_cast<std::uint8_t>(at_); }

private:
    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
    bool cut_short_ = false;
};

/// Takes the prefixes and returns the first byte of the opcode. A REX byte counts only right before the opcode.
std::uint8_t read_prefixes(Reader& reader, Prefixes& found) {
    while (!reader.cut_short()) {
        const std::uint8_t byte = reader.next();
        if ((byte & 0xF0) == 0x40) {
            found.rex = byte;
            const std::uint8_t opcode = reader.next();
            if ((opcode & 0xF0) != 0x40) return opcode;
            return 0;  // two REX bytes: nothing that a compiler makes
        }
        switch (byte) {
            case 0x66:
                found.operand_size = true;
                break;
            case 0x67:
                found.address_size = true;
                break;
            case 0xF0:
                found.lock = true;
                break;
            case 0xF2:
                found.repeat = Repeat::f2;
                break;
            case 0xF3:
                found.repeat = Repeat::f3;
                break;
            case 0x64:
                found.segment = MemoryOperand::Override::fs;
                break;
            case 0x65:
                found.segment = MemoryOperand::Override::gs;
                break;
            case 0x26:
            case 0x2E:
            case 0x36:
            case 0x3E:
                break;  // without meaning in 64-bit code
            default:
                return byte;
        }
    }
    return 0;
}

struct ModRm {
    std::uint8_t mode, reg, rm;
};
ModRm split(std::uint8_t byte) {
    return {static_cast<std::uint8_t>(byte >> 6), static_cast<std::uint8_t>((byte >> 3) & 7),
            static_cast<std::uint8_t>(byte & 7)};
}

/// SDM volume 2, tables 2-2 and 2-3, and 2.2.1.6 for what is relative to RIP.
MemoryOperand read_memory_operand(Reader& reader, const Prefixes& prefixes, ModRm modrm) {
    MemoryOperand operand;
    operand.segment = prefixes.segment;
    operand.short_address = prefixes.address_size;
    operand.base = MemoryOperand::Base::general;
    operand.base_register = static_cast<std::uint8_t>(modrm.rm | prefixes.base_bit());
    bool far_displacement = modrm.mode == 2;
    if (modrm.rm == 4) {
        const ModRm sib = split(reader.next());
        const auto index = static_cast<std::uint8_t>(sib.reg | prefixes.index_bit());
        if (index != 4) operand.index_register = index;
        operand.scale = static_cast<std::uint8_t>(1U << sib.mode);
        operand.base_register = static_cast<std::uint8_t>(sib.rm | prefixes.base_bit());
        if (sib.rm == 5 && modrm.mode == 0) {
            operand.base = MemoryOperand::Base::none;
            operand.base_register = 0;
            far_displacement = true;
        }
    } else if (modrm.rm == 5 && modrm.mode == 0) {
        operand.base = MemoryOperand::Base::instruction_end;
        operand.base_register = 0;
        far_displacement = true;
    }
    if (far_displacement) operand.displacement = reader.next_signed(4);
    if (modrm.mode == 1) operand.displacement = reader.next_signed(1);
    return operand;
}

/// Which operation `0F opcode` with this ModRM is.
std::optional<Operation> two_byte(std::uint8_t opcode, const Prefixes& prefixes, ModRm modrm) {
    const bool in_memory = modrm.mode != 3;
    const bool plain = prefixes.repeat == Repeat::none && !prefixes.operand_size;
    const bool f3 = prefixes.repeat == Repeat::f3;
    switch (opcode) {
        case 0x01:
            if (in_memory || !plain) return std::nullopt;
            if (modrm.reg == 1 && modrm.rm == 2) return Operation::clac;
            if (modrm.reg == 1 && modrm.rm == 3) return Operation::stac;
            if (modrm.reg == 5 && modrm.rm == 0) return Operation::fence;  // serialize
            return std::nullopt;
        case 0xAE:
            if (in_memory) {
                if (plain && modrm.reg == 2) return Operation::ldmxcsr;
                if (plain && modrm.reg == 3) return Operation::stmxcsr;
                const bool size_only = prefixes.operand_size && prefixes.repeat == Repeat::none;
                if (size_only && modrm.reg >= 6) return Operation::write_back;
                return std::nullopt;
            }
            if (plain && modrm.reg >= 5) return Operation::fence;
            if (f3 && modrm.reg < 4) {
                return std::array{Operation::rdfsbase, Operation::rdgsbase, Operation::wrfsbase,
                                  Operation::wrgsbase}[modrm.reg];
            }
            return std::nullopt;
        case 0xB8:
            return f3 ? std::optional{Operation::popcnt} : std::nullopt;
        case 0xBC:
            return f3 ? std::optional{Operation::tzcnt} : std::nullopt;
        case 0xBD:
            return f3 ? std::optional{Operation::lzcnt} : std::nullopt;
        case 0xC7:
            if (in_memory || prefixes.repeat != Repeat::none || modrm.reg < 6) return std::nullopt;
            return modrm.reg == 6 ? Operation::rdrand : Operation::rdseed;
        default:
            return std::nullopt;
    }
}

}  // namespace

std::string_view name_of(Operation operation) {
    static constexpr std::array<std::string_view, static_cast<std::size_t>(Operation::count)> names{
        "int3",  "clac",  "stac",     "fwait",    "ldmxcsr",  "stmxcsr",  "fence",  "write_back", "popcnt",
        "lzcnt", "tzcnt", "rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase", "rdrand", "rdseed"};
    PENUMBRA_ASSERT(operation < Operation::count, "an operation without a name");
    return names[static_cast<std::size_t>(operation)];
}

std::optional<Instruction> decode(std::span<const std::byte> bytes) {
    Reader reader(bytes);
    Prefixes prefixes;
    const std::uint8_t opcode = read_prefixes(reader, prefixes);
    if (prefixes.lock) return std::nullopt;
    Instruction found;
    if (opcode == 0xCC || opcode == 0x9B) {
        found.operation = opcode == 0xCC ? Operation::int3 : Operation::fwait;
    } else if (opcode == 0x0F) {
        const std::uint8_t second = reader.next();
        const ModRm modrm = split(reader.next());
        const std::optional<Operation> operation = two_byte(second, prefixes, modrm);
        if (!operation) return std::nullopt;
        found.operation = *operation;
        found.operand_bytes = prefixes.wide() ? 8 : prefixes.operand_size ? 2 : 4;
        found.target = static_cast<std::uint8_t>(modrm.reg | prefixes.register_bit());
        if (modrm.mode == 3) {
            found.source = static_cast<std::uint8_t>(modrm.rm | prefixes.base_bit());
        } else {
            found.memory = read_memory_operand(reader, prefixes, modrm);
        }
    } else {
        return std::nullopt;
    }
    if (reader.cut_short()) return std::nullopt;
    found.length = reader.taken();
    return found;
}

}  // namespace penumbra::vmm
