# evalsched needs python3 (3.11 or newer) and make; everything else comes into .venv.

PYTHON := .venv/bin/python
UV := $(PYTHON) -m uv

# What another project has left exported in a terminal must not mislead pip, uv or Python.
# The addresses of package indexes stay: they may be how this machine reaches one.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONSAFEPATH DJANGO_SETTINGS_MODULE CONDA_PREFIX
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_PYTHON PIP_CONSTRAINT PIP_REQUIREMENT
unexport PIP_REQUIRE_VIRTUALENV PIP_REQUIRE_HASHES PIP_DRY_RUN
unexport UV_PYTHON UV_SYSTEM_PYTHON UV_PROJECT_ENVIRONMENT UV_CONSTRAINT UV_OVERRIDE UV_BUILD_CONSTRAINT
unexport UV_TARGET UV_PREFIX UV_EXCLUDE_NEWER UV_REQUIRE_HASHES UV_RESOLUTION UV_PRERELEASE UV_CONFIG_FILE
unexport UV_BREAK_SYSTEM_PACKAGES UV_MANAGED_PYTHON UV_WORKING_DIRECTORY UV_PROJECT

# pip trusts the certificates of the system, so uv has to as well.
export UV_SYSTEM_CERTS := true

# uv does not read pip's variables, and of an index only pip's may be known here.
INDEX = $${PIP_INDEX_URL:+--default-index "$$PIP_INDEX_URL"} \
	$${PIP_EXTRA_INDEX_URL:+--index "$$PIP_EXTRA_INDEX_URL"} \
	$${PIP_FIND_LINKS:+--find-links "$$PIP_FIND_LINKS"}

# Only for the checks of production's settings; nothing listens at these addresses.
PRODUCTION = SECRET_KEY=for-the-checks-only-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ \
	FIELD_ENCRYPTION_KEYS=Zm9yLXRoZS1jaGVja3Mtb25seS0wMTIzNDU2Nzg5LWE= \
	PUBLIC_URL=https://evalsched.example ALLOWED_HOSTS=evalsched.example \
	DATABASE_URL=postgres://evalsched@127.0.0.1:1/evalsched \
	CELERY_BROKER_URL=redis://127.0.0.1:1/0 REDIS_URL=redis://127.0.0.1:1/1 \
	DEBUG= EVALSCHED_DEMO= EVALSCHED_PRIVATE_HOSTS= CSRF_TRUSTED_ORIGINS=https://evalsched.example

.PHONY: up test check bench e2e lock

up: .venv/installed-embedded
	@exec $(PYTHON) manage.py up

test: .venv/installed-dev
	$(PYTHON) -m pytest

check: .venv/installed-dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as main; main()'
	@# The check compares models with migrations; that the database cannot be asked is no news.
	$(PRODUCTION) $(PYTHON) -W 'ignore:Got an error checking:RuntimeWarning' manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(PYTHON) manage.py check --deploy --fail-level WARNING

bench: .venv/installed-dev
	$(PYTHON) -m benchmarks

e2e: .venv/installed-e2e
	$(PYTHON) -m pytest -m e2e

# Every version with its hashes, for every platform, and no index's address in the files.
lock: .venv/uv
	$(call compile,requirements.lock,)
	$(call compile,requirements-embedded.lock,--extra embedded)
	$(call compile,requirements-dev.lock,--extra embedded --group dev)
	$(call compile,requirements-e2e.lock,--extra embedded --group dev --group e2e)

define compile
$(UV) pip compile --python $(PYTHON) --universal --generate-hashes --no-header --no-annotate -q \
	$(INDEX) --no-emit-index-url --no-emit-find-links pyproject.toml $(2) -o $(1)
endef

# A larger set contains the smaller ones: installing one never takes from another.
.venv/installed-embedded: requirements-embedded.lock .venv/uv
	@if [ -e .venv/installed-dev ] || [ -e .venv/installed-e2e ]; then \
		$(call install,requirements-dev.lock); \
	else $(call install,requirements-embedded.lock); fi
	@touch $@

.venv/installed-dev: requirements-dev.lock .venv/uv
	@$(call install,requirements-dev.lock)
	@touch $@ .venv/installed-embedded

.venv/installed-e2e: requirements-e2e.lock .venv/uv
	@$(call install,requirements-e2e.lock)
	@touch $@ .venv/installed-dev .venv/installed-embedded

# pip reads configuration that uv does not, so it has the last word.
define install
echo "Installing $(1)"; \
{ [ -e .venv/bin/uv ] && $(UV) pip install --python $(PYTHON) --quiet --require-hashes $(INDEX) \
	-r $(1); } \
|| { echo "uv could not install it, trying pip"; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1); }
endef

# Without uv pip does, only slower.
.venv/uv: .venv/bin/python
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check uv \
		|| echo "uv cannot be installed; pip installs the rest."
	@touch $@

.venv/bin/python:
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || { lacking="$$python"; continue; }; \
		echo "Creating .venv with $$("$$python" --version)"; \
		exec "$$python" -m venv --clear .venv; \
	done; \
	if [ -n "$$lacking" ]; then \
		echo "$$lacking cannot create virtual environments. On Debian and Ubuntu:" >&2; \
		echo "  apt install python3-venv" >&2; \
	else \
		echo "evalsched needs Python 3.11 or newer, and there is none on the PATH." >&2; \
	fi; \
	exit 1
