//! What Python asks of TLS: whether files are good. The judge is the code that will use them.

use std::path::PathBuf;

use pyo3::prelude::*;
use reactor::tls::{self, Remark};

use crate::guard::guarded;

type Found = Vec<(&'static str, String, bool)>;

fn found(remarks: Vec<Remark>) -> Found {
    let remarks = remarks.into_iter();
    remarks.map(|r| (r.part, r.why, r.fatal)).collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands arguments over by value"
)]
#[pyfunction]
pub(crate) fn check_certificate(cert: PathBuf, key: PathBuf) -> PyResult<Found> {
    guarded(|| Ok(found(tls::check_pair(&cert, &key))))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands arguments over by value"
)]
#[pyfunction]
pub(crate) fn check_bundle(ca: PathBuf) -> PyResult<Found> {
    guarded(|| Ok(found(tls::check_bundle(&ca))))
}
