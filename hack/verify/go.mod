module github.com/kapok-operators/kapok/hack/verify

go 1.26.0

require golang.org/x/mod v0.41.0
