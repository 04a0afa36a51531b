"""French."""

CATALOGUE = {
    "1 to {last}": "1 à {last}",
    "APOP is not possible here: the greeting had no timestamp": (
        "APOP est impossible ici : l'accueil n'avait pas d'horodatage"
    ),
    "APOP needs a name and a digest of 32 hexadecimal digits": (
        "APOP demande un nom et une empreinte de 32 chiffres hexadécimaux"
    ),
    "AUTH needs a mechanism, and takes one initial response": (
        "AUTH demande un mécanisme et accepte une seule réponse initiale"
    ),
    "CAPA takes no argument": "CAPA n'a pas d'argument",
    "DELE needs a message number, {numbers}": "DELE demande un numéro de message, {numbers}",
    "LANG takes nothing, one language tag, or *": "LANG s'emploie seul, avec un code de langue ou avec *",
    "LIST takes nothing or one message number, {numbers}": (
        "LIST s'emploie seul ou avec un numéro de message, {numbers}"
    ),
    "NOOP takes no argument": "NOOP n'a pas d'argument",
    "PASS needs a password": "PASS demande un mot de passe",
    "POP3 commands now: {commands}": "commandes POP3 possibles : {commands}",
    "QUIT takes no argument": "QUIT n'a pas d'argument",
    "QUIT takes no argument; nothing was deleted": "QUIT n'a pas d'argument ; rien n'a été supprimé",
    "RETR needs a message number, {numbers}": "RETR demande un numéro de message, {numbers}",
    "RSET takes no argument": "RSET n'a pas d'argument",
    "STAT takes no argument": "STAT n'a pas d'argument",
    "STLS comes before UTF8": "STLS vient avant UTF8",
    "STLS is not possible here": "STLS est impossible ici",
    "STLS takes no argument": "STLS n'a pas d'argument",
    "TLS is active already": "TLS est déjà actif",
    "TOP needs a message number, {numbers}, and a count of body lines": (
        "TOP demande un numéro de message, {numbers}, et un nombre de lignes"
    ),
    "UIDL takes nothing or one message number, {numbers}": (
        "UIDL s'emploie seul ou avec un numéro de message, {numbers}"
    ),
    "USER comes first, and PASS right after it": "d'abord USER, et PASS juste après",
    "USER needs one name, without spaces": "USER demande un nom sans espaces",
    "UTF-8 is welcome": "UTF-8 est bienvenu",
    "UTF8 takes no argument": "UTF8 n'a pas d'argument",
    "a -PLUS mechanism needs a channel binding": "un mécanisme -PLUS demande une liaison au canal",
    "a command is printable ASCII; this line has other octets, please retype it": (
        "une commande est en ASCII imprimable ; cette ligne contient autre chose, veuillez la retaper"
    ),
    "a line is at most {limit} octets here": "une ligne a au plus {limit} octets ici",
    "a name or password that is not ASCII must be UTF-8": (
        "un nom ou un mot de passe qui n'est pas en ASCII doit être en UTF-8"
    ),
    "already logged in": "la session est déjà ouverte",
    "another session has this maildrop open; try again when it has ended": (
        "cette boîte est ouverte dans une autre session ; veuillez réessayer quand elle sera finie"
    ),
    "authentication cancelled": "identification interrompue",
    "begin TLS": "TLS peut commencer",
    "but the maildrop is empty": "mais la boîte est vide",
    "capabilities follow": "voici les capacités",
    "channel binding is possible here: somebody may have changed the list of mechanisms": (
        "la liaison au canal est possible ici : quelqu'un a peut-être modifié la liste des mécanismes"
    ),
    "goodbye": "au revoir",
    "internal error": "erreur interne",
    "languages follow": "voici les langues",
    "log in first": "il faut d'abord s'identifier",
    "log in first: USER, then PASS": "il faut d'abord s'identifier : USER, puis PASS",
    "mechanisms follow": "voici les mécanismes",
    "message {number} is marked deleted (RSET undoes that)": (
        "le message {number} est marqué comme supprimé (RSET annule cela)"
    ),
    "message {number} marked deleted; QUIT removes it, RSET unmarks it": (
        "message {number} marqué comme supprimé ; QUIT l'enlève, RSET annule la marque"
    ),
    "no mechanism is possible here": "aucun mécanisme n'est possible ici",
    "no passwords over an unencrypted connection from your address": (
        "pas de mot de passe sur une connexion non chiffrée depuis cette adresse"
    ),
    "no room for this message at the moment; please try again later": (
        "pas de place pour ce message pour le moment ; veuillez réessayer plus tard"
    ),
    "no such message, numbers are {numbers}": "ce message n'existe pas, les numéros sont {numbers}",
    "no such message, the maildrop is empty": "ce message n'existe pas, la boîte est vide",
    "not over an unencrypted connection; use STLS or port 995": (
        "pas sur une connexion non chiffrée ; employez STLS ou le port 995"
    ),
    "not possible at the moment; please try again later": "impossible pour le moment ; veuillez réessayer plus tard",
    "not possible until the administrator has mended something": (
        "impossible tant que l'administrateur n'a pas réparé quelque chose"
    ),
    "nothing can be deleted from this maildrop": "rien ne peut être supprimé de cette boîte",
    "nothing done": "rien n'a été fait",
    "refused": "refusé",
    "send PASS": "envoyez PASS",
    "some deleted messages not removed": "quelques messages supprimés n'ont pas été enlevés",
    "the maildrop is full": "la boîte est pleine",
    "that is not base64": "ce n'est pas du base64",
    "that is not what a {mechanism} message looks like": "ce n'est pas la forme d'un message {mechanism}",
    "that language is not here; right are {tags} and *": "cette langue n'est pas disponible ; il y a {tags} et *",
    "this channel binding is not possible here": "cette liaison au canal est impossible ici",
    "this is POP3, and nothing else": "ceci est POP3, et rien d'autre",
    "this line is empty or begins with a space; HELP lists the commands": (
        "cette ligne est vide ou commence par une espace ; HELP donne les commandes"
    ),
    "this message needs UTF8, which is said before logging in": (
        "ce message demande UTF8, qui se dit avant l'identification"
    ),
    "too many connections; please try again later": "trop de connexions ; veuillez réessayer plus tard",
    "too soon after the last login; wait a while": "trop tôt après la dernière session ; veuillez patienter",
    "top of message follows": "voici le début du message",
    "unknown command; {help}": "commande inconnue ; {help}",
    "unknown mechanism; right are {names}": "mécanisme inconnu ; il y a {names}",
    "wrong user name or password": "nom d'utilisateur ou mot de passe incorrect",
    "{count} messages ({octets} octets)": "{count} messages ({octets} octets)",
    "{deleted} messages deleted, {left} left": "{deleted} messages supprimés, {left} restants",
    "{mechanism} takes no initial response": "{mechanism} n'accepte pas de réponse initiale",
    "{octets} octets": "{octets} octets",
    "{tag} replies are in English now": "{tag} les réponses sont maintenant en français",
}
