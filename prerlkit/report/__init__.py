"""`prerlkit report`: one or several runs on one page, written as a file, or served while the runs continue."""
