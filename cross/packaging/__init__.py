"""What is in the packages and how it is written; the program is `cross/package`."""
