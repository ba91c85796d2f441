# One line each; what they do is in tools/.
#
#   make run [APP=hello] [BOARD=qemu-virt] [SMP=4] [DISK=folder] [ARGS="--memory 1G"]
#   make soak [SECONDS=600] [SEED=1]

APP   =
BOARD =
SMP   =
DISK  =
ARGS  =

# For `make soak`: how long, and the seed to repeat it with.
SECONDS = 600
SEED    =

# What every recipe starts with: the computer is ready, and the right Rust is on the path.
READY = tools/setup.sh && . target/wakeful/toolchain.env &&
READY_TO_TEST = tools/setup.sh test && . target/wakeful/toolchain.env &&

.PHONY: help run test soak bench fuzz setup clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

run: ## build an example and boot it in QEMU
	@$(READY) cargo wakeful run $(APP) $(if $(BOARD),--board $(BOARD)) $(if $(SMP),--smp $(SMP)) $(if $(DISK),--disk '$(subst ','\'',$(DISK))') $(ARGS)

test: ## everything: format, lints, tests on this computer, tests in QEMU
	@$(READY_TO_TEST) tools/test.sh

soak: ## everything that goes wrong on networks, for ten minutes or SECONDS=, and long work on files
	@$(READY_TO_TEST) WAKEFUL_SOAK=$(SECONDS) $(if $(SEED),WAKEFUL_SEED=$(SEED)) cargo wakeful test --ignored soak

bench: ## race against the peers on this computer, then measure against the limits
	@$(READY_TO_TEST) { race=0; limits=0; \
		cargo run --quiet --release --package wakeful-bench --target host-tuple || race=$$?; echo; \
		cargo wakeful bench || limits=$$?; \
		[ $$race = 0 ] || echo "the race has failed: see above"; exit $$((race | limits)); }

fuzz: ## feed broken device trees, partition tables and requests to those who read them, a minute each
	@$(READY) tools/fuzz.sh

setup: ## install what is missing, for running and for testing
	@tools/setup.sh && tools/setup.sh test

clean: ## remove everything that was built
	@cargo clean
