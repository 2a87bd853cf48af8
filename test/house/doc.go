// Package house holds the rules of the house as tests: which room may use what. Compilers let every
// package import every other; these rules are what keeps deciding pure and writing in one place.
//
// Each rule is a function of the packages it is shown, and comes with a small house that breaks it,
// so that a rule that has gone blind fails too.
package house
