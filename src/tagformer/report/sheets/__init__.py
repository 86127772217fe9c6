"""PNG sheets of pictures: with tags, heat maps, single channels, or similar images."""
