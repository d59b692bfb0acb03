#!/bin/sh
# Stands before rustc (RUSTC_WORKSPACE_WRAPPER): has kat itself, and nothing that
# it depends on, count where it goes for libFuzzer, and check its arithmetic.
case " $* " in
*' --crate-name kat '* | *' --crate-name kat_fuzz '*)
	exec "$@" --cfg fuzzing -C debug-assertions=on -C overflow-checks=on \
		-C passes=sancov-module \
		-C llvm-args=-sanitizer-coverage-level=4 \
		-C llvm-args=-sanitizer-coverage-inline-8bit-counters \
		-C llvm-args=-sanitizer-coverage-pc-table \
		-C llvm-args=-sanitizer-coverage-trace-compares
	;;
esac
exec "$@"
