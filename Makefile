# What CI runs is what a person types. `make help` lists the targets.
export GOEXPERIMENT := simd
GO ?= go
BIN := bin/deeplora

.PHONY: help build engine demo test test-slow race fuzz chaos bench lint check vulncheck check-peft check-onnx check-hugot check-tensorboard slurm-test image-test gpu-check fmt goldens tiny

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

build: ## the program, bin/deeplora
	$(GO) build -trimpath -o $(BIN) ./cmd/deeplora

engine: build ## fetch and verify the XLA plugin; without a network, say so and go on
	$(BIN) engine install --best-effort

demo: engine ## the main job on embedded files
	$(BIN) demo

test: engine ## the tests, on both engines where the plugin is there
	$(GO) test -timeout 20m ./...

test-slow: engine ## the tests with those that take minutes
	DEEPLORA_SLOW=1 $(GO) test -timeout 60m ./...

race: engine ## the tests under the race detector, computing on XLA (the Go engine takes 20 times as long)
	DEEPLORA_TEST_BACKENDS=xla:cpu $(GO) test -race -short -gcflags=all=-d=checkptr=0 -timeout 90m ./internal/... ./engine ./lora/... ./data ./model ./train/... ./cmd/...

FUZZTIME ?= 1m
fuzz: ## every fuzz target, FUZZTIME each (default 1m)
	scripts/fuzz.sh $(FUZZTIME)

FAULTS ?= 300
chaos: build ## random faults at random moments of every command, held against undisturbed runs
	$(GO) run ./scripts/chaos --program $(BIN) --faults $(FAULTS)

bench: build ## benchmarks, and deeplora beside its PyTorch peer: make bench BENCH="--model DIR --python PYTHON"
	$(GO) test -run xxx -bench . ./internal/safetensors ./lora ./data
	$(GO) run ./bench $(BENCH)

lint: ## vet, staticcheck, gofumpt, tidy
	$(GO) vet ./...
	$(GO) vet -tags noxla ./...
	$(GO) tool staticcheck ./...
	@test -z "$$($(GO) tool gofumpt -l .)" || { echo "not formatted (make fmt):"; $(GO) tool gofumpt -l .; exit 1; }
	$(GO) mod tidy -diff

vulncheck: ## known vulnerabilities in what the program calls, where their database can be reached
	scripts/vulncheck.sh

check: lint vulncheck test ## lint, vulncheck and test

check-peft: engine ## exports read by Transformers and PEFT, in a virtual environment of its own
	python3 scripts/check_peft.py $(CHECK_PEFT)

check-onnx: engine ## ONNX exports in onnxruntime beside Transformers, in the virtual environment of check-peft
	python3 scripts/check_onnx.py $(CHECK_ONNX)

check-hugot: engine ## ONNX exports in hugot beside deeplora predict, by a Go module of its own
	scripts/check_hugot.sh $(CHECK_HUGOT)

check-tensorboard: engine ## event files read by TensorBoard's own reader, in a virtual environment of its own
	python3 scripts/check_tensorboard.py $(CHECK_TENSORBOARD)

slurm-test: engine ## compare on a Slurm of one node, set up for it where that can be done
	scripts/slurm_test.sh

image-test: engine ## the steps of the Dockerfile in a folder, without Docker
	scripts/image_test.sh

gpu-check: engine ## what scripts/gpu_check.sh checks on a GPU, on this machine's CPU and in four minutes
	scripts/gpu_check.sh --build bin/gpu-check
	bin/gpu-check/gpu_check.sh --backend xla:cpu --limit 240 $(GPU_CHECK)

fmt: ## format the code
	$(GO) tool gofumpt -w .

GLUE ?= glue
TEACHER ?= sentence-transformers/all-MiniLM-L6-v2
TINY := .build/tiny
tiny: engine ## make the embedded encoder again, in about an hour: make tiny GLUE=DIR TEACHER=DIR
	scripts/corpus/fetch.sh .build/packages
	$(GO) run ./scripts/corpus --packages .build/packages --glue $(GLUE) --out .build/corpus --without gcide
	$(BIN) pretrain --resume --recipe scripts/tiny/recipe.json --config scripts/tiny/config.json --corpus .build/corpus/corpus.txt --teacher $(TEACHER) --out $(TINY)
	cp $(TINY)/config.json $(TINY)/model.safetensors $(TINY)/tokenizer.json $(TINY)/tokenizer_config.json $(TINY)/vocab.txt internal/builtin/tiny/
	cd internal/builtin/tiny && sha256sum *
