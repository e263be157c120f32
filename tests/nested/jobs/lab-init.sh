#!/bin/sh
# A lab whose first process dies says so.
# lab: kernels=6.1 limit=60
# lab-append: init=/bin/false
# lab-expect: 125 the lab's kernel panicked: Attempted to kill init!
true
