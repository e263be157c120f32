#!/usr/bin/env python3
"""Writes the seeds of boot_configuration_fuzz: what boot loaders of distributions leave on their disks, and superblocks.

Usage: boot_seeds.py FOLDER. The first byte of a seed says which kernels exist and where the GRUB script lies (see
boot_configuration_fuzz.cpp).
"""

import sys
from pathlib import Path

BOOT_GRUB, GRUB2, EFI, BOOT_EFI = range(4)
KERNELS, KERNELS_WITH_INITRDS, ONE_KERNEL, NO_KERNEL = (4 * i for i in range(4))


def disk(script="", environment="", first="", second="", conf="", more="", cmdline="", fstab="", where=0):
    parts = [script, environment, first, second, conf, more, cmdline, fstab]
    return bytes([where]) + b"\xff".join(part.encode() for part in parts)


DEBIAN = """if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
if [ x"${feature_menuentry_id}" = xy ]; then menuentry_id_option="--id"; else menuentry_id_option=""; fi
function savedefault { if [ -z "${boot_once}" ]; then saved_entry="${chosen}"; save_env saved_entry; fi; }
menuentry 'GNU/Linux' --class os $menuentry_id_option 'simple' {
  insmod part_msdos
  set root='hd0,msdos1'
  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,msdos1 1234-abcd
  linux /boot/vmlinuz-2 root=UUID=1234-abcd ro quiet
  initrd /boot/initrd.img-2
}
submenu 'More' { menuentry 'one' { linux /boot/vmlinuz-1 a ; } }
"""
SEARCHES = """search.fs_uuid 1234-ABCD root
search.fs_uuid
search.fs_label root
search.fs_label root other
search.fs_label none
search.file /k
search.file /k place
search.file
search -l root --set r
search --label root -s r
search --fs-label --set=r root
search -u 1234-abcd
search -f /k
search --file --set r /k --hint hd0
search --no-floppy
search none
set root=hd0,gpt1
set root=hd9,1
linux /k
set root=hd0,1
linux (hd0 /k
linux (hd0,gpt1)k
menuentry a { linux (hd0,msdos1)/k 'a b' c; initrd /k /none (hd7)/k; }
"""
TESTS = """if ! [ -n a -a 1 -lt 2 -o ! -e /k ]; then false; elif test -f /k; then until true; do false; done; fi
[ a = a ]; [ a == b ]; [ a != b ]; [ a '<' b ]; [ a '>' b ]; [ 1 -eq 1 ]; [ 1 -ne 2 ]; [ 1 -le 2 ]; [ 2 -gt 1 ]
[ 2 -ge 3 ]; [ -z '' ]; [ -d /boot ]; [ -s /k ]; [ -s /none ]; [ -s (hd7)/k ]; [ -q a ]; [ -n -a b ]; [ -n -o b ]
[ ! ! a ]; [ a -a -b -o '' ]; [ '' ]; [ ]; test; [ a 1 b ]; ! ! true; !; [ -a ]; [ -o a ]; [ -xy a ]; [ '' -a a ]
for a in; do false; done
function f { return; linux /k; }
f
"""
LOOPS = """for i in 1 2 3; do source /more; done
while [ "$n" != aaa ]; do set n=${n}a; done; set default='x>y'
for i in 1 2; do if [ $i = 2 ]; then return; fi; done
"""
LEXER = r"""# a comment
set a="b \$c \" \\ \d \
e $a ${a} $"; set b='single
line'; set c=a\ b\
c
echo $? $@ $* $# ${ ${} ${a
} $- "$-" "" '' ""a$a a$a"b" $none "$none" \$x
x = y ; =z; set =z; set; set novalue; unset a b; unset
a	b;;; a=b c; a=b; insmod x
menuentry "unclosed
"""
MENU = """set default="sub>1>deep"
menuentry --unrestricted --id one 'first' --class a --users b --hotkey c --source d second { linux /k "a b" c; }
menuentry --id=two { linux; }
menuentry third --id
submenu sub --id=s {
  menuentry x { linux /none; }
  submenu y { menuentry deep { linux16 /k d; initrd16 /k; } }
}
submenu empty { }
other { false; }
"""
ENTRY = """# comment
title\tTitle\t
version 1
sort-key b
linux /k
initrd /boot/initrd.img-2
options  $kernelopts a=b \r
options more
other"""

SEEDS = {
    "debian": disk(DEBIAN, "# GRUB Environment Block\nsaved_entry=simple\nnext_entry=x\n=y\nplain\na=b\\\\c\\"),
    "debian-second": disk(DEBIAN.replace('default="0"', 'default="1>0"'), where=KERNELS_WITH_INITRDS),
    "debian-no-kernel": disk(DEBIAN, where=NO_KERNEL + GRUB2),
    "debian-missing-default": disk(DEBIAN.replace('default="0"', 'default="7"').replace("vmlinuz-1", "none")),
    "searches": disk(SEARCHES, where=ONE_KERNEL),
    "tests": disk(TESTS + "menuentry a { linux /k }"),
    "tests-none": disk(TESTS, where=ONE_KERNEL),
    "loops": disk(LOOPS, more="menuentry x --id=y { linux (hd0,msdos1)/k 'a b' c\\ d \"$n\"; }"),
    "lexer": disk(LEXER, where=EFI),
    "menu": disk(MENU, where=ONE_KERNEL),
    "menu-in-entry": disk("menuentry a { source /more; }\nmenuentry b { source /more; linux /k; }",
                          more="menuentry c { linux /none; }\n" * 5),
    "menu-empty": disk(MENU.replace("sub>1>deep", "empty"), where=ONE_KERNEL),
    "menu-missing": disk(MENU.replace("sub>1>deep", "sub>9"), where=ONE_KERNEL),
    "menu-id": disk(MENU.replace("sub>1>deep", "two"), where=NO_KERNEL),
    "blscfg": disk("load_env --file /grub2/grubenv saved_entry kernelopts\nload_env --file=/none -x\nload_env -f /more\n"
                   "set default=${saved_entry}\nblscfg\n", "saved_entry=a-1\nkernelopts=ro x\\y\n", ENTRY,
                   "title\nlinux /k\n", more="b=c\n", where=GRUB2),
    "blscfg-later": disk("blscfg", second=ENTRY, where=ONE_KERNEL),
    "blscfg-nothing": disk("blscfg\nset root=hd7\nblscfg"),
    "entries": disk("", "", ENTRY, ENTRY.replace("1", "2"), "default b-*\ntimeout 3\n"),
    "entries-same": disk("", "", ENTRY, ENTRY, "default *1.conf\n", where=ONE_KERNEL),
    "entries-versions": disk("", "", ENTRY, ENTRY.replace("version 1", "version 1.0~rc1")),
    "entries-no-kernel": disk("", "", ENTRY, "", "default a\n", where=NO_KERNEL),
    "entries-initrds": disk("", "", "linux /k\n" + "initrd /k\n" * 20, "", "default c\n"),
    "entries-broken": disk("", "", "options only\n"),
    "entries-brace": disk("", "", "linux /k\noptions {\n"),
    "plain": disk(where=KERNELS_WITH_INITRDS),
    "plain-cmdline": disk(cmdline="root=/dev/vda1\nquiet", where=KERNELS),
    "plain-fstab": disk(fstab="x"),
    "nothing": disk(where=NO_KERNEL),
    "efi": disk("configfile /k\nnormal\n. /more\nmenuentry a { linuxefi /k; initrdefi /k; }", more="exit; a=b",
                where=BOOT_EFI),
    "source-broken": disk("source /more", more="if"),
    "source-itself": disk("source /more\nmenuentry a { source /more; linux /k; }", more="source /more"),
    "calls-itself": disk("function f { f; }\nf\n", where=ONE_KERNEL),
    "endless": disk("while true; do true; done\nmenuentry a { while true; do a=b; done; }", where=ONE_KERNEL),
    "endless-statements": disk("until false; do a=b; b=c; done", where=ONE_KERNEL),
    "many-variables": disk("for a in " + " ".join(str(i) for i in range(20)) + "; do for b in "
                           + " ".join(str(i) for i in range(20)) + "; do a$a$b=1; done; done"),
    "many-lines": disk("function f { " + "menuentry a { linux /k; };" * 110 + " }\n" + "f;" * 10),
    "many-bytes": disk("a=" + "x" * 4000 + "\n" + "for i in 1 2 3 4 5 6 7 8 9; do " * 4
                       + "b=\"$a$a$a\"; c=\"$b$b$b$b\"" + "; done" * 4, where=ONE_KERNEL),
    "deep": disk("if true; then " * 70),
}
SEEDS.update({f"wrong-{i}": disk(text, where=ONE_KERNEL) for i, text in enumerate([
    "}", "{ a; }", "for", "for a b", "for a in b; done", "function", "function f a", "if a; fi", "while a; done",
    "menuentry a { b", "if a; then b; else c; done", "fi", "function { a; }", "until a; do b; fi", "for ; do",
    "function f\n{ a; }\nf", "then", "if a; then b; elif c; then d; else e; fi"])})


def superblock(magic, at):
    return (b"\0" * at + magic).ljust(2048, b"\x20")


SEEDS.update({
    "ext4": superblock(b"\x53\xef", 1024 + 0x38), "ext4-labelled": superblock(b"\x53\xef" + b"a" * 60, 1024 + 0x38),
    "xfs": superblock(b"XFSB", 0), "btrfs": superblock(b"_BHRfS_M", 0x40), "fat32": superblock(b"FAT32   ", 0x52),
    "fat16": superblock(b"FAT16   ", 0x36), "fat12": superblock(b"FAT12   ", 0x36), "fat-cut": superblock(b"FAT1", 0x36),
    "versions": b"1.0~rc1-a001.0~rc1-b002", "versions-tilde": b"1a~1a", "versions-letters": b"01.2+1.2A",
})


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in SEEDS.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
