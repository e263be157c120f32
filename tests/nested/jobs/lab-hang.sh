#!/bin/sh
# A job that hangs is a hang, reported with what the kernel's tasks wait for, and what it wrote comes back.
# lab: kernels=6.12 limit=3
# lab-expect: 124 HANG: the command did not end within 3 s
sleep 1000
