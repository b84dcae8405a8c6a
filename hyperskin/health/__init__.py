"""What is wrong with an installation: one file per question, each of which looks and changes nothing."""
