"""What the pages show: pictures of the streams, kept while they are looked at. No web in here, and no writing."""
