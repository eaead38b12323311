module github.com/kapok-operators/kapok/operators/mysql

go 1.26.0
