/* Begins a section of count.c in the guest, or ends it: mark begin, mark end. */
#include <stdio.h>
#include <string.h>

#include "mark.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define MARK(number) __asm__ volatile(".byte 0x0f, 0x1f, 0x80\n.long " TEXT(number))

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "begin"))
    MARK(BEGIN);
  else if (argc == 2 && !strcmp(argv[1], "end"))
    MARK(END);
  else {
    fputs("usage: mark begin|end\n", stderr);
    return 2;
  }
  return 0;
}
