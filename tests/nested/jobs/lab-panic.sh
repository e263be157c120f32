#!/bin/sh
# A lab whose kernel dies under a job says so at once, with the kernel's own words.
# lab: kernels=6.12 limit=60
# lab-expect: 125 the lab's kernel panicked: sysrq triggered crash
echo c >/proc/sysrq-trigger
