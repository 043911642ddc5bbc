# What a developer does in a day, by the program `just`; without an argument it lists all. Each line can be typed as well.

_list:
    @just --list --unsorted

# Build the node and the simulator, unoptimised
build:
    cargo build --workspace

# Run all tests; about ten minutes on two cores
test:
    cargo test --workspace

# Run the tests of the node whose names contain NAME, or those of a module: just one engine::
one NAME *OPTIONS:
    cargo test --test it -- {{NAME}} {{OPTIONS}}

# Look at style and lints, as CI does
lint:
    .ci/run format lint

# Run all that must hold before a change is merged, or some steps of it: just ci format lint
ci *STEPS:
    .ci/run {{STEPS}}

# Run a local network of real nodes until Ctrl-C
lab *OPTIONS='--nodes 5':
    cargo run --release -- lab {{OPTIONS}}

# Simulate a scenario: just sim partition-heal --report heal.html
sim SCENARIO *OPTIONS:
    cargo run --release -p m2mesh-sim -- run {{SCENARIO}} {{OPTIONS}}

# Measure the hot paths, optimised
bench *NAMES:
    cargo bench -- {{NAMES}}

# Write what is written from the code anew: test vectors, tables of documents, the pictures of ARCHITECTURE.md
bless:
    M2MESH_BLESS=1 cargo test --test it -- wire:: tidy::
    M2MESH_BLESS=1 cargo test --lib event_log::

# Build the guide to the code, and open it
docs:
    cargo doc --no-deps --document-private-items --open

# Feed one parser with noise for a minute: just fuzz frames
fuzz TARGET SECONDS='60':
    RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}}
