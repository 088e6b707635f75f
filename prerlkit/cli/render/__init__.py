"""What results look like on a terminal and in a log: no file here decides or computes anything."""
