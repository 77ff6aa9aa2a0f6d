//! PyO3 only: types in, types out.
