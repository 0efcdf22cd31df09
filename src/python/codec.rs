//! The codec for Python: bytes to packets and back. The classes of the packets are declared in `python/rmqtt/codec`.

use super::errors::Failure;
use super::packets::{object_of, packet_of, python_name};
use crate::codec::{
    self, DecodeError, EncodeError, Limits, Packet, ProtocolVersion, ReasonCode, SendBuffer,
    explain,
};
use bytes::{Buf, BytesMut};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PyTuple};

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
    fn push(&mut self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.input.extend_from_slice(as_bytes(data)?.as_bytes());
        Ok(())
    }

    /// Puts the packets that have arrived as a whole behind the others, up to one that may not travel both ways: that is
    /// handed back, to be looked at.
    fn read<'py>(
        &mut self,
        py: Python<'py>,
        packets: &Bound<'py, PyList>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        loop {
            let packet = match take_packet(&self.input, self.version, &self.limits) {
                Ok(None) => return Ok(None),
                Ok(Some((packet, size))) => {
                    self.input.advance(size);
                    packet
                }
                Err(error) => {
                    // What follows cannot be trusted, and is not worth its memory.
                    self.input = BytesMut::new();
                    return Err(Failure::Packet(error).into_py(py));
                }
            };
            if let Packet::Connect(connect) = &packet {
                self.version = connect.version;
            }
            let goes_both_ways = matches!(packet, Packet::Publish(_) | Packet::Ack(_));
            let object = object_of(py, packet)?;
            if !goes_both_ways {
                return Ok(Some(object));
            }
            packets.append(object)?;
        }
    }

    fn encode<'py>(&mut self, packet: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = packet.py();
        let packet = packet_of(packet)?;
        let bytes = to_bytes(py, &packet, self.version)?;
        if let Packet::Connect(connect) = &packet {
            self.version = connect.version;
        }
        Ok(bytes)
    }
}

/// Turn a packet into bytes.
///
/// Parameters
/// ----------
/// packet
///     One of the classes of this module.
/// version
///     What is spoken: ``"5.0"``, ``"3.1.1"`` or ``"3.1"``. A `Connect` names its version itself.
///
/// Raises
/// ------
/// `ValueError`
///     The packet says what the standard does not allow, or a field is too long or out of its range.
/// `TypeError`
///     Not a packet, or a field of another type.
///
/// Examples
/// --------
/// >>> encode(Publish(topic="a", payload=b"1"), version="3.1.1").hex(" ")
/// '30 04 00 01 61 31'
#[pyfunction]
#[pyo3(signature = (packet, *, version="5.0"))]
pub(super) fn encode<'py>(
    packet: &Bound<'py, PyAny>,
    version: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    to_bytes(packet.py(), &packet_of(packet)?, version_from(version)?)
}

/// Read the packet at the front of some bytes.
///
/// Parameters
/// ----------
/// data
///     Bytes that begin with a packet; what follows it is left alone.
/// version
///     What is spoken: ``"5.0"``, ``"3.1.1"`` or ``"3.1"``. A CONNECT is read by the version it names itself.
///
/// Returns
/// -------
/// tuple
///     The packet, and how many bytes it took.
///
/// Raises
/// ------
/// `IncompletePacket`
///     The end of the packet is missing.
/// `MalformedPacket`
///     The bytes are no packet. A note says which bytes are wrong.
/// `ProtocolError`
///     The packet says what is not allowed; ``reason_code`` is what an MQTT 5 peer is told.
///
/// Examples
/// --------
/// >>> decode(bytes.fromhex("e0 01 04 ff"))
/// (Disconnect(reason_code=<ReasonCode.DISCONNECT_WITH_WILL: 4>), 3)
#[pyfunction]
#[pyo3(signature = (data, *, version="5.0"))]
pub(super) fn decode<'py>(
    data: &Bound<'py, PyAny>,
    version: &str,
) -> PyResult<(Bound<'py, PyAny>, usize)> {
    let py = data.py();
    let data = as_bytes(data)?;
    let spoken = version_from(version)?;
    let error = match take_packet(data.as_bytes(), spoken, &Limits::default()) {
        Ok(Some((packet, size))) => return Ok((object_of(py, packet)?, size)),
        Ok(None) => None,
        Err(error) => Some(Failure::Packet(error).into_py(py)),
    };
    let error = python_name(py, "_fault")?.call1((data, version, error))?;
    Err(PyErr::from_value(error))
}

/// The packet at the front of `input`, in memory of its own, with its size: what is read must not keep more than itself.
fn take_packet(
    input: &[u8],
    version: ProtocolVersion,
    limits: &Limits,
) -> Result<Option<(Packet, usize)>, DecodeError> {
    // Of a packet that is not there as a whole, the fixed header is enough to refuse it or to wait for it.
    let size = packet_size(input).unwrap_or(usize::MAX);
    let whole = input.get(..size).unwrap_or(&input[..input.len().min(5)]);
    let mut bytes = BytesMut::from(whole);
    let packet = codec::decode(&mut bytes, version, limits)?;
    Ok(packet.map(|packet| (packet, size)))
}

/// What the fixed header says, if it has arrived and can be read.
fn packet_size(input: &[u8]) -> Option<usize> {
    let mut remaining = 0;
    for (at, &byte) in input.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            return Some(2 + at + remaining);
        }
    }
    None
}

fn as_bytes<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let bytes = PyMemoryView::from(data)?.call_method0("tobytes")?;
    Ok(bytes.cast_into()?)
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

fn to_bytes<'py>(
    py: Python<'py>,
    packet: &Packet,
    version: ProtocolVersion,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = SendBuffer::new();
    codec::encode(packet, version, &mut out)
        .map_err(|error: EncodeError| PyValueError::new_err(error.to_string()))?;
    PyBytes::new_with(py, out.len(), |bytes| {
        out.copy_to_slice(bytes);
        Ok(())
    })
}
