"""What scanners find in our TLS, and what they think of our CAPA."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.interop.bench import Office, Part, done
from tests.interop.catalogue import PYPI, needs_client, once
from tests.interop.conftest import Tried

pytestmark = once

# What is so only because the certificate was made for these tests, by a CA of their own.
OF_A_PRIVATE_CA = {
    "cert_chain_of_trust",  # the CA is in no list
    "cert_validityPeriod",  # it made the certificate valid for a thousand years
    "cert_revocation",  # and publishes no list of those revoked
}


def scan(office: Office, port: int, *options: str) -> dict[str, tuple[str, str]]:
    """Scan a port for protocols, ciphers, defaults, holes; returns severity and text of the findings by their ids."""
    report = office.folder / f"testssl-{port}.json"
    command = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"]
    sections = ["-p", "-s", "-f", "-S", "-U"]
    result = office.run(*command, *sections, "--jsonfile", report, *options, f"127.0.0.1:{port}", timeout=300)
    assert b"\n Done " in result.stdout, result  # its exit status counts what it does not like
    findings = json.loads(report.read_text(encoding="utf-8"))
    return {finding["id"]: (finding["severity"], finding["finding"]) for finding in findings}


@needs_client("testssl.sh")
def test_testssl(office: Office, tried: Tried) -> None:
    """P-230 to P-236: nothing of severity MEDIUM or above, with STLS and with TLS from the start."""
    with ThreadPoolExecutor(2) as pool:
        scans = {
            "STLS": pool.submit(scan, office, office.strict, "-t", "pop3"),
            "TLS": pool.submit(scan, office, office.tls),
        }
    for mode, future in scans.items():
        findings = future.result()
        severe = {
            name: found for name, found in findings.items() if found[0] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
        }
        assert set(severe) <= OF_A_PRIVATE_CA, severe
        for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
            assert findings[name][1] == "not offered"
        for name in ("TLS1_2", "TLS1_3", "PFS", "cipherlist_STRONG"):
            assert findings[name][0] == "OK"
            assert findings[name][1].startswith("offered")
        for name in ("heartbleed", "CCS", "ROBOT", "secure_client_renego", "CRIME_TLS", "SWEET32", "LUCKY13", "BEAST"):
            assert findings[name][0] == "OK"
            assert findings[name][1].startswith("not vulnerable")
        assert findings["secure_renego"] == ("OK", "supported")
        tried("testssl.sh", mode, did="finds nothing of severity MEDIUM or above, but that the CA is a private one")


def sslyze(office: Office, port: int, *options: str) -> dict[str, Any]:
    """Scan a port; returns the results by scan."""
    report = office.folder / "sslyze.json"
    command: list[Part] = [PYPI / "sslyze", "--mozilla_config=disable", f"--json_out={report}", *options]
    done(office.run(*command, *SCANS, f"127.0.0.1:{port}"))
    (server,) = json.loads(report.read_text(encoding="utf-8"))["server_scan_results"]
    assert server["scan_status"] == "COMPLETED"
    results: dict[str, Any] = {}
    for name, attempt in server["scan_result"].items():
        if attempt["status"] != "NOT_SCHEDULED":
            assert attempt["status"] == "COMPLETED", (name, attempt)
            results[name] = attempt["result"]
    return results


SCANS = [
    "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--compression", "--early_data", "--ems",
    "--fallback", "--heartbleed", "--openssl_ccs", "--reneg", "--resum", "--robot", "--elliptic_curves", "--certinfo",
]  # fmt: skip
_SUITE = re.compile(r"TLS_(ECDHE_(ECDSA|RSA)_WITH_)?(AES_(128|256)_GCM|CHACHA20_POLY1305)_SHA(256|384)")


@needs_client("SSLyze")
@pytest.mark.parametrize("mode", ["STLS", "TLS"])
def test_sslyze(office: Office, tried: Tried, mode: str) -> None:
    """P-235: only TLS 1.2 and 1.3 with AEAD and fresh keys, and none of the known holes."""
    options = {"STLS": ["--starttls=pop3"], "TLS": []}[mode]
    results = sslyze(office, office.strict if mode == "STLS" else office.tls, *options)
    for name in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert results[f"{name}_cipher_suites"]["accepted_cipher_suites"] == []
    for name in ("tls_1_2", "tls_1_3"):
        accepted = results[f"{name}_cipher_suites"]["accepted_cipher_suites"]
        assert accepted
        for suite in accepted:
            assert _SUITE.fullmatch(suite["cipher_suite"]["name"]), suite
    assert results["tls_compression"]["supports_compression"] is False
    assert results["tls_1_3_early_data"]["supports_early_data"] is False
    assert results["tls_extended_master_secret"]["supports_ems_extension"] is True
    assert results["tls_fallback_scsv"]["supports_fallback_scsv"] is True
    assert results["heartbleed"]["is_vulnerable_to_heartbleed"] is False
    assert results["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"] is False
    assert results["session_renegotiation"]["supports_secure_renegotiation"] is True
    assert results["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"] is False
    assert results["robot"]["robot_result"].startswith("NOT_VULNERABLE")
    (deployment,) = results["certificate_info"]["certificate_deployments"]
    assert deployment["received_chain_has_valid_order"] is True
    tried("SSLyze", mode, did="TLS 1.2 and 1.3 only, forward secrecy, none of the holes it knows")


@needs_client("nmap")
def test_nmap(office: Office, tried: Tried) -> None:
    """P-055, P-150, P-153: its script reads CAPA, where passwords are taken without TLS and where they are not."""
    command = ["nmap", "-Pn", "-n", "-p", f"{office.plain},{office.strict}", "--script-timeout", "30s"]
    printed = done(office.run(*command, "--script", "+pop3-capabilities,+pop3-ntlm-info", "127.0.0.1")).decode()
    lists = re.findall(r"(\d+)/tcp open .*\n\|_pop3-capabilities: (.*)", printed)
    capabilities = {int(port): set(text.split()) for port, text in lists}
    always = {"TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE(NEVER)", "STLS", "LANG"}
    assert capabilities[office.plain] >= always | {"USER"}
    assert capabilities[office.strict] >= always
    assert "USER" not in capabilities[office.strict]
    assert "ERROR" not in printed
    tried("nmap", "pop3-capabilities, pop3-ntlm-info", did="lists the capabilities")
