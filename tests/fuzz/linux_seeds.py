#!/usr/bin/env python3
"""Writes the seeds of linux_image_fuzz: small kernel files, good ones and ones with a single thing wrong.

Usage: linux_seeds.py FOLDER. Each seed is four bytes of choices (see linux_image_fuzz.cpp), then the file.
"""

import struct
import sys
from pathlib import Path


def bzimage(**changes):
    fields = {
        "setup_sects": 1, "root_flags": 0, "syssize": 0x22, "ram_size": 0, "vid_mode": 0, "root_dev": 0,
        "boot_flag": 0xAA55, "jump": 0x6AEB, "header": 0x53726448, "version": 0x20F, "realmode_swtch": 0,
        "start_sys_seg": 0, "kernel_version": 0, "type_of_loader": 0, "loadflags": 1, "setup_move_size": 0,
        "code32_start": 0x100000, "ramdisk_image": 0, "ramdisk_size": 0, "bootsect_kludge": 0, "heap_end_ptr": 0,
        "ext_loader_ver": 0, "ext_loader_type": 0, "cmd_line_ptr": 0, "initrd_addr_max": 0x7FFFFFFF,
        "kernel_alignment": 0x1000, "relocatable_kernel": 1, "min_alignment": 12, "xloadflags": 1,
        "cmdline_size": 2047, "hardware_subarch": 0, "hardware_subarch_data": 0, "payload_offset": 0,
        "payload_length": 0, "setup_data": 0, "pref_address": 0x100000, "init_size": 0x10000, "handover_offset": 0,
        "kernel_info_offset": 0,
    }
    fields.update(changes)
    header = struct.pack("<BHIHHHHHIHIHHBBHIIIIHBBIIIBBHIIQIIQQIII", *fields.values())
    return (b"\0" * 0x1F1 + header).ljust(1024, b"\0") + b"\x90" * 0x220


def note(name, kind, value, alignment=4):
    pad = lambda b: b + b"\0" * (-len(b) % alignment)
    return pad(pad(struct.pack("<III", len(name), len(value), kind) + name) + value)


PVH = note(b"Xen\0", 18, struct.pack("<I", 0x200010))
OTHER = note(b"GNU\0", 3, b"id")


def elf(notes=OTHER + PVH, note_alignment=4, data_paddr=0x300000, data_memsz=0x2100, entry=0x200000, machine=62,
        elf_class=2, kind=2, phnum=4, note_bytes=None):
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", elf_class, 1, 1, 0, kind, machine, 1, entry, 64, 0, 0,
                         64, 56, phnum, 0, 0, 0)
    segment = lambda *fields: struct.pack("<IIQQQQQQ", *fields)
    size = len(notes) if note_bytes is None else note_bytes
    table = segment(1, 5, 0x140, 0, 0x200000, 0x40, 0x40, 0x1000)
    table += segment(1, 6, 0x180, 0, data_paddr, 0x20, data_memsz, 0x1000)
    table += segment(4, 4, 0x1A0, 0, 0, size, size, note_alignment)
    table += segment(1, 4, 0, 0, 0, 0, 0, 0)
    return (header + table).ljust(0x140, b"\0") + b"\x90" * 0x60 + notes


# Choices: RAM, way of entry, initrd, command line.
SEEDS = {
    "bzimage": (b"\0\0\2\1", bzimage()),
    "bzimage-unwritable": (b"\0\6\2\1", bzimage()),
    "bzimage-unwritable-tables": (b"\0\x15\2\1", bzimage()),
    "bzimage-bare": (b"\0\0\0\0", bzimage(relocatable_kernel=0, jump=0x62EB)),
    "bzimage-high": (b"\1\0\1\1", bzimage(pref_address=0x1000000, kernel_alignment=0x200000)),
    "bzimage-large": (b"\0\0\0\0", bzimage(init_size=0x300001)),
    "bzimage-huge": (b"\0\0\0\0", bzimage(pref_address=1 << 63)),
    "bzimage-low": (b"\0\0\0\0", bzimage(relocatable_kernel=0, pref_address=0x10000)),
    "bzimage-short-header": (b"\0\0\0\0", bzimage(jump=0x10EB)),
    "bzimage-odd-alignment": (b"\0\0\0\0", bzimage(kernel_alignment=0x3000)),
    "bzimage-no-code": (b"\0\0\0\0", bzimage(syssize=0)),
    "bzimage-cut": (b"\0\0\0\0", bzimage(setup_sects=0)),
    "bzimage-small-memory": (b"\0\0\0\0", bzimage(init_size=0x200)),
    "bzimage-old": (b"\0\0\0\0", bzimage(version=0x20B)),
    "bzimage-32-bit": (b"\0\0\0\0", bzimage(xloadflags=0)),
    "zimage": (b"\0\0\0\0", bzimage(loadflags=0)),
    "initrd-no-room": (b"\0\0\3\0", bzimage(init_size=0x2F0000)),
    "initrd-far-out-of-reach": (b"\0\0\2\0", bzimage(initrd_addr_max=0x111000)),
    "initrd-out-of-reach": (b"\0\0\2\0", bzimage(initrd_addr_max=0x1000)),
    "command-line-long": (b"\0\0\0\2", bzimage()),
    "command-line-zero": (b"\0\0\0\3", bzimage()),
    "elf-pvh": (b"\0\0\2\1", elf()),
    "elf-unwritable": (b"\0\x1b\2\1", elf()),
    "elf-64-bit": (b"\0\2\2\1", elf()),
    "elf-no-notes": (b"\1\0\0\0", elf(notes=b"", phnum=2)),
    "elf-pvh-missing": (b"\0\1\0\0", elf(notes=OTHER)),
    "elf-wide-notes": (b"\0\0\0\0", elf(notes=note(b"Xen\0", 1, b"x", 8) + note(b"Xen\0", 18, b"\0\0\x20\0", 8),
                                        note_alignment=8)),
    "elf-broken-note": (b"\0\0\0\0", elf(notes=struct.pack("<III", 4, 99, 18))),
    "elf-odd-note": (b"\0\0\0\0", elf(notes=note(b"Xen\0", 18, b"abcdef"))),
    "elf-far-note": (b"\0\0\0\0", elf(notes=note(b"Xen\0", 18, b"\xff" * 8))),
    "elf-cut-note": (b"\0\0\0\0", elf(note_bytes=0x1000)),
    "elf-overlap": (b"\0\0\0\0", elf(data_paddr=0x200020)),
    "elf-large": (b"\0\0\0\0", elf(data_memsz=0x200000)),
    "elf-endless": (b"\0\0\0\0", elf(data_memsz=(1 << 64) - 1)),
    "elf-low": (b"\0\0\0\0", elf(data_paddr=0x1000)),
    "elf-entry-outside": (b"\0\2\0\0", elf(entry=0x400000)),
    "elf-nothing": (b"\0\0\0\0", elf(phnum=0)),
    "elf-cut": (b"\0\0\0\0", elf()[:0x190]),
    "elf-cut-table": (b"\0\0\0\0", elf()[:0x80]),
    "elf-cut-header": (b"\0\0\0\0", elf()[:0x20]),
    "elf-32-bit": (b"\0\0\0\0", elf(elf_class=1)),
    "elf-arm": (b"\0\0\0\0", elf(machine=183)),
    "elf-library": (b"\0\0\0\0", elf(kind=3)),
    "elf-big-endian": (b"\0\0\0\0", elf()[:5] + b"\2" + elf()[6:]),
    "elf-many": (b"\0\0\0\0", elf(phnum=65)),
    "elf-odd-table": (b"\0\0\0\0", elf()[:54] + b"\x20" + elf()[55:]),
    "elf-long-notes": (b"\0\0\0\0", elf(note_bytes=0x10001) + b"\0" * 0x11000),
    "no-flag": (b"\0\0\0\0", bzimage(boot_flag=0)),
    "no-magic": (b"\0\0\0\0", bzimage(header=0)),
    "kernel-missing": (b"\2\0\0\0", bzimage()),
    "kernel-folder": (b"\4\0\0\0", bzimage()),
    "kernel-device": (b"\6\0\0\0", bzimage()),
    "initrd-missing": (b"\x08\0\0\0", bzimage()),
    "kernel-shrinks": (b"\x0a\0\0\0", bzimage()),
    "elf-shrinks": (b"\x0a\0\0\0", elf()),
    "text": (b"\0\0\0\0", b"#!/bin/sh\n"),
    "empty": (b"\0\0\0\0", b""),
}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (choices, file) in SEEDS.items():
        (folder / name).write_bytes(choices + file)


if __name__ == "__main__":
    main()
