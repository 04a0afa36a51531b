// Run inside Thunderbird: port, whether to make a new account, CA (DER in base64).
// Asks for new mail and leaves it on the server; returns the status, how many messages there are, and where.
const [port, fresh, ca] = arguments;
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");

if (fresh) {
  Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(ca, "C,,");
  for (const old of MailServices.accounts.accounts) {
    MailServices.accounts.removeAccount(old, true);
  }
  const server = MailServices.accounts.createIncomingServer("bob", "localhost", "pop3");
  server.socketType = 0;
  server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  server.password = "bobpw";
  server.QueryInterface(Ci.nsIPop3IncomingServer).leaveMessagesOnServer = true;
  const account = MailServices.accounts.createAccount();
  account.addIdentity(MailServices.accounts.createIdentity());
  account.incomingServer = server;
}
const server = MailServices.accounts.accounts.find(one => one.incomingServer.type == "pop3").incomingServer;
server.port = port;
const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
const status = await new Promise(resolve => {
  const listener = {
    QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
    OnStartRunningUrl() {},
    OnStopRunningUrl(url, result) {
      resolve(result);
    },
  };
  MailServices.pop3.GetNewMail(null, listener, inbox, server);
});
return { status, count: inbox.getTotalMessages(false), path: inbox.filePath.path };
