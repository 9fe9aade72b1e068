package main

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Println("program on", runtime.GOARCH)
}
