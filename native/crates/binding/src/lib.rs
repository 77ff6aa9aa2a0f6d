//! PyO3 only: types in, types out. The contract is `python/fastproxy/_native.pyi`.
//!
//! **Invariants:** nothing here decides anything; a panic never leaves as such (`guard`); importing
//! the module starts no thread; calls that wait give up the GIL.

mod ask;
mod bench_api;
mod core;
mod descriptor;
mod explain;
mod guard;
mod h2_probe;
mod primitives;
mod tls;
mod view;

use pyo3::prelude::*;

/// The native module of fastproxy: where bytes move.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("PlanError", py.get_type::<guard::PlanError>())?;
    module.add("StartError", py.get_type::<guard::StartError>())?;
    module.add_class::<core::Core>()?;
    module.add_class::<ask::Ask>()?;
    module.add_class::<primitives::RequestHead>()?;
    module.add_class::<primitives::Channel>()?;
    module.add_class::<primitives::Picker>()?;
    module.add_class::<h2_probe::H2Probe>()?;
    module.add_class::<h2_probe::Hpack>()?;
    module.add_class::<bench_api::Running>()?;
    module.add_function(wrap_pyfunction!(core::raise_nofile_limit, module)?)?;
    module.add_function(wrap_pyfunction!(core::usable_cpus, module)?)?;
    module.add_function(wrap_pyfunction!(tls::check_bundle, module)?)?;
    module.add_function(wrap_pyfunction!(tls::check_certificate, module)?)?;
    module.add_function(wrap_pyfunction!(primitives::parse_request_head, module)?)?;
    module.add_function(wrap_pyfunction!(bench_api::bench_engine, module)?)?;
    module.add_function(wrap_pyfunction!(bench_api::bench_relay, module)?)?;
    module.add_function(wrap_pyfunction!(bench_api::bench_run, module)?)?;
    module.add_function(wrap_pyfunction!(bench_api::bench_text, module)?)?;
    module.add_function(wrap_pyfunction!(bench_api::bench_html, module)?)?;
    Ok(())
}
