// Package archtest holds the rules of the repository as tests: who may import whom, what the binary links, how long a
// file may grow, which test proves which conformance row, and what the deployment files may say.
//
// It owns rules about the tree as a whole. What one linter can see in one file is in .golangci.yaml; what one package
// promises is in that package's own tests. There is no code here but tests.
package archtest
