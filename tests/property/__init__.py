"""Operations drawn at random against a model."""
