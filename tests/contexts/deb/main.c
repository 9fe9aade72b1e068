#include <stdio.h>

int main(void) { return printf("program %s\n", VERSION) < 0; }
