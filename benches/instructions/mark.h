/* What stands in the instructions that begin and end a section: see count.c. */
#define BEGIN 0x46414e01
#define END 0x46414e02
