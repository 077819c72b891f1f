module rocketd

go 1.26
