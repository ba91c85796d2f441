# One line each; what they do is in tools/.
#
#   make run [APP=hello] [BOARD=qemu-virt] [SMP=4] [ARGS="--memory 1G"]

APP   =
BOARD =
SMP   =
ARGS  =

# What every recipe starts with: the computer is ready, and the right Rust is on the path.
READY = tools/setup.sh && . target/wakeful/toolchain.env &&
READY_TO_TEST = tools/setup.sh test && . target/wakeful/toolchain.env &&

.PHONY: help run test bench fuzz setup clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

run: ## build an example and boot it in QEMU
	@$(READY) cargo wakeful run $(APP) $(if $(BOARD),--board $(BOARD)) $(if $(SMP),--smp $(SMP)) $(ARGS)

test: ## everything: format, lints, tests on this computer, tests in QEMU
	@$(READY_TO_TEST) tools/test.sh

bench: ## measure against the limits, then race against the peers on this computer
	@$(READY_TO_TEST) { status=0; cargo wakeful bench || status=1; echo; \
		cargo run --quiet --release --package wakeful-bench --target host-tuple || status=1; exit $$status; }

fuzz: ## feed broken device trees to the parser and broken requests to the web server, a minute each
	@$(READY) tools/fuzz.sh

setup: ## install what is missing, for running and for testing
	@tools/setup.sh && tools/setup.sh test

clean: ## remove everything that was built
	@cargo clean
