PYTHON ?= python3.11

.PHONY: help setup demo check test test-hosts test-browser screenshots bench-speed bench-gpu bench-quality bench-tuning bench-scale bundle families workflows train train-second clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## only set up: virtual environment and ComfyUIs in .dev
	@$(PYTHON) tools/dev.py setup

demo: ## generate the demo picture with and without CAT Pruning, into demo/out
	@$(PYTHON) tools/dev.py demo

check: ## lint, formatting, import contract, types
	@$(PYTHON) tools/dev.py check

test: ## check, then all tests but those with a browser
	@$(PYTHON) tools/dev.py test

test-hosts: ## what depends on the host, on the other ComfyUIs that are supported
	@$(PYTHON) tools/dev.py test-hosts

test-browser: ## use the nodes in ComfyUI's front end; wants Chromium
	@$(PYTHON) tools/dev.py test-browser

screenshots: ## test-browser, and keep pictures in docs/screenshots
	@$(PYTHON) tools/dev.py screenshots

bench-speed: ## measure steps and runs, write docs/speed.md (12 minutes; resumes)
	@$(PYTHON) tools/dev.py bench-speed

bench-gpu: ## measure published models on a GPU, write docs/gpu.md (hours; resumes)
	@$(PYTHON) tools/dev.py bench-gpu

bench-quality: ## measure quality against cost on the demo model (hours; resumes)
	@$(PYTHON) tools/dev.py bench-quality

bench-tuning: ## tune settings for bench-quality --task tuned (5 minutes)
	@$(PYTHON) tools/dev.py bench-tuning

bench-scale: ## compute docs/scale.md: several GPUs, on paper
	@$(PYTHON) tools/dev.py bench-scale

bundle: ## one folder with all that a machine without network needs, into .dev/bundle
	@$(PYTHON) tools/dev.py bundle

families: ## compute the table of docs/families.md
	@$(PYTHON) tools/dev.py families

workflows: ## build the workflows of tools/recipes
	@$(PYTHON) tools/dev.py workflows

train: ## train the demo model (hours; resumes)
	@$(PYTHON) tools/dev.py train

train-second: ## train another model for bench-tuning (40 minutes; resumes)
	@$(PYTHON) tools/dev.py train-second

clean: ## remove the virtual environment, the host and the demo's output
	rm -rf .dev/venv .dev/hosts demo/out
