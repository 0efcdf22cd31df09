//! The codec for Python: bytes to fields and back. The classes of the packets are dataclasses in `python/rmqtt/codec.py`.

use super::errors::Failure;
use super::packets::{fields_of, packet_from};
use crate::codec::{
    EncodeError, Limits, Packet, ProtocolVersion, ReasonCode, SendBuffer, decode, encode, explain,
};
use bytes::{Buf, BytesMut};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

/// The version with this name.
///
/// # Errors
/// `ValueError`: there is no such version here.
pub(crate) fn version_from(name: &str) -> PyResult<ProtocolVersion> {
    match name {
        "5.0" => Ok(ProtocolVersion::V5),
        "3.1.1" => Ok(ProtocolVersion::V3_1_1),
        "3.1" => Ok(ProtocolVersion::V3_1),
        _ => Err(PyValueError::new_err(format!(
            "version must be '5.0', '3.1.1' or '3.1', not {name:?}"
        ))),
    }
}

/// The name of a version.
pub(crate) fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V5 => "5.0",
        ProtocolVersion::V3_1_1 => "3.1.1",
        ProtocolVersion::V3_1 => "3.1",
    }
}

/// A packet as the number of its kind and its fields.
type Fields<'py> = (u8, Bound<'py, PyDict>);

/// Bytes that arrive in pieces, and the packets in them.
#[pyclass(module = "rmqtt._rmqtt")]
pub(super) struct NativeCodec {
    input: BytesMut,
    version: ProtocolVersion,
    limits: Limits,
}

#[pymethods]
impl NativeCodec {
    #[new]
    fn new(version: &str, packet_size_max: usize) -> PyResult<Self> {
        Ok(Self {
            input: BytesMut::new(),
            version: version_from(version)?,
            limits: Limits {
                packet_size_max,
                control_packet_size_max: packet_size_max,
            },
        })
    }

    /// What is spoken: a CONNECT that comes by, in either direction, settles it.
    #[getter]
    fn version(&self) -> &'static str {
        version_name(self.version)
    }

    /// Bytes that have arrived and are no whole packet yet.
    #[getter]
    fn buffered(&self) -> usize {
        self.input.len()
    }

    /// Takes bytes that arrived.
    fn push(&mut self, data: &[u8]) {
        self.input.extend_from_slice(data);
    }

    /// The next packet, if it has arrived as a whole.
    fn pop<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Fields<'py>>> {
        match decode(&mut self.input, self.version, &self.limits) {
            Ok(None) => Ok(None),
            Ok(Some(packet)) => {
                if let Packet::Connect(connect) = &packet {
                    self.version = connect.version;
                }
                fields(py, packet).map(Some)
            }
            Err(error) => {
                // What follows cannot be trusted, and is not worth its memory.
                self.input = BytesMut::new();
                Err(Failure::Packet(error).into_py(py))
            }
        }
    }

    fn encode<'py>(
        &mut self,
        py: Python<'py>,
        number: u8,
        packet: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let packet = packet_from(number, packet)?;
        let bytes = to_bytes(py, &packet, self.version)?;
        if let Packet::Connect(connect) = &packet {
            self.version = connect.version;
        }
        Ok(bytes)
    }
}

/// A packet as bytes.
#[pyfunction]
pub(super) fn encode_packet<'py>(
    py: Python<'py>,
    number: u8,
    packet: &Bound<'py, PyAny>,
    version: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    to_bytes(py, &packet_from(number, packet)?, version_from(version)?)
}

/// The packet at the front of some bytes, with its size; `None` while its end is missing.
#[pyfunction]
pub(super) fn decode_packet<'py>(
    py: Python<'py>,
    data: &[u8],
    version: &str,
) -> PyResult<Option<(u8, Bound<'py, PyDict>, usize)>> {
    let mut input = BytesMut::from(data);
    let packet = decode(&mut input, version_from(version)?, &Limits::default())
        .map_err(|error| Failure::Packet(error).into_py(py))?;
    let Some(packet) = packet else {
        return Ok(None);
    };
    let (number, fields) = fields(py, packet)?;
    Ok(Some((number, fields, data.len() - input.len())))
}

/// The breakdown of a packet: its version, its lines, and what is wrong with it.
#[pyfunction]
pub(super) fn explain_packet<'py>(
    py: Python<'py>,
    data: &[u8],
    version: &str,
) -> PyResult<Bound<'py, PyTuple>> {
    let explanation = explain(data, version_from(version)?);
    let parts = explanation.parts.into_iter().map(|part| {
        (
            (part.range.start, part.range.end),
            part.bits,
            part.depth,
            part.field,
            part.value,
            part.meaning,
        )
    });
    let parts: Vec<_> = parts.collect();
    let fault = explanation.fault.map(|fault| {
        (
            (fault.range.start, fault.range.end),
            fault.what,
            fault.reason.map(ReasonCode::number),
        )
    });
    (version_name(explanation.version), parts, fault).into_pyobject(py)
}

fn fields(py: Python<'_>, packet: Packet) -> PyResult<Fields<'_>> {
    let number = packet.packet_type().number();
    Ok((number, fields_of(py, packet)?))
}

fn to_bytes<'py>(
    py: Python<'py>,
    packet: &Packet,
    version: ProtocolVersion,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = SendBuffer::new();
    encode(packet, version, &mut out)
        .map_err(|error: EncodeError| PyValueError::new_err(error.to_string()))?;
    PyBytes::new_with(py, out.len(), |bytes| {
        out.copy_to_slice(bytes);
        Ok(())
    })
}
