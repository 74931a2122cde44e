"""What others build on, written down from the code itself: subjects, messages and buckets."""
