.PHONY: bench test ci

# bench compares the cost of requests with that of other proxies on this machine and prints a table; some seven minutes. Flags: make bench ARGS=--help
bench:
	go run ./internal/bench $(ARGS)

# test runs all tests; parts that need what is not on the machine say that they are skipped.
test:
	go test -race ./...

# ci is the gate, as it runs for every change; it installs what it needs.
ci:
	.ci/run
