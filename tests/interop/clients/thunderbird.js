// Run inside Thunderbird: port, type of socket (0 plain, 2 STLS, 3 TLS), whether to keep messages, CA (DER in base64).
// Asks for new mail twice; returns the status of each time, and where the messages are.
const [port, socketType, keep, ca] = arguments;
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");

Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(ca, "C,,");
for (const account of MailServices.accounts.accounts) {
  MailServices.accounts.removeAccount(account, true);
}
const server = MailServices.accounts.createIncomingServer("bob", "localhost", "pop3");
server.port = port;
server.socketType = socketType;
server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
server.password = "bobpw";
server.QueryInterface(Ci.nsIPop3IncomingServer).leaveMessagesOnServer = keep;
const account = MailServices.accounts.createAccount();
account.addIdentity(MailServices.accounts.createIdentity());
account.incomingServer = server;
const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);

function getNewMail() {
  return new Promise(resolve => {
    const listener = {
      QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
      OnStartRunningUrl() {},
      OnStopRunningUrl(url, status) {
        resolve(status);
      },
    };
    MailServices.pop3.GetNewMail(null, listener, inbox, server);
  });
}

const first = await getNewMail();
const count = inbox.getTotalMessages(false);
return { statuses: [first, await getNewMail()], count, path: inbox.filePath.path };
